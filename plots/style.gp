# What all plots share: colours that colour-blind readers can tell apart (Okabe and Ito), a shape for each, fonts, terminal.
# Load it once WIDTH and HEIGHT (pixels) are set.
set encoding utf8
set datafile separator "\t"
set datafile commentschars ""
# SIZE: what a column of a paper (--width) makes of the layout's pixels, texts and lines with it; DPI of PNG there is 300. SVG and what
# TeX reads are drawn as the layout is, and scaled by what finishes them: gnuplot's own scaling leaves texts the room of larger ones.
SIZE = INCHES > 0 ? INCHES * 96.0 / WIDTH : 1
DOTS = INCHES > 0 ? SIZE * 300 / 96 : 1.5
if (FORMAT eq 'svg') { set terminal svg size WIDTH, HEIGHT dynamic noenhanced font 'sans-serif,14' background rgb 'white' }
if (FORMAT eq 'png' && INCHES == 0) {
    set terminal pngcairo size DOTS * WIDTH, DOTS * HEIGHT noenhanced font 'Sans,13' fontscale 0.8 * DOTS linewidth DOTS \
        pointscale DOTS
}
if (FORMAT eq 'png' && INCHES > 0) {
    set terminal pngcairo size DOTS * WIDTH, DOTS * HEIGHT noenhanced font 'Sans,14' fontscale 0.74 * DOTS linewidth DOTS \
        pointscale 1.3 * DOTS
}
if (FORMAT eq 'pdf' && INCHES == 0) { set terminal pdfcairo size WIDTH/96.0, HEIGHT/96.0 noenhanced font 'Sans,9' }
if (FORMAT eq 'pdf' && INCHES > 0) {
    set terminal pdfcairo size SIZE * WIDTH / 96.0, SIZE * HEIGHT / 96.0 noenhanced font 'Sans,14' fontscale 0.72 * SIZE \
        linewidth SIZE pointscale 1.3 * SIZE
}
# Its sizes are no expressions; centimetres, a pixel being a point. One font for all texts of cairolatex: smaller in columns, where
# panels are narrow.
TEX = sprintf('size %.2fcm,%.2fcm', WIDTH * 2.54 / 72, HEIGHT * 2.54 / 72)
TEX_FONT = INCHES > 0 && FORMAT eq 'cairolatex' ? '\fontsize{11}{13}\selectfont' : '\fontsize{13}{15}\selectfont'
if (FORMAT eq 'tikz') { eval sprintf("set terminal tikz %s font '%s'", TEX, TEX_FONT) }
if (FORMAT eq 'cairolatex') {
    eval sprintf("set terminal cairolatex pdf input colortext header '%s' %s pointscale %g", \
                 TEX_FONT, TEX, INCHES > 0 ? 1.3 : 1)
}
set output OUTPUT

array COLOUR[7] = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000']
array SHAPE[8] = [7, 5, 9, 13, 11, 4, 6, 8]
colour(i) = COLOUR[1 + (i - 1) % 7]
shape(i) = SHAPE[1 + (i - 1) % 8]

# Names that cover the lines they cross, as @BOXED: not in cairolatex, where they would take a package and are not told from commands.
BOXED = FORMAT eq 'cairolatex' ? '' : 'boxed'
set style textbox opaque noborder fillcolor rgb '#ffffff' margins 0.3, 0.3

set border 3 linecolor '#404040'
set tics nomirror out textcolor '#202020'
set grid linecolor '#dddddd' linetype 1 linewidth 0.5
set key top right opaque noenhanced samplen 2
set title font (PIXELS && PIXELS < 700 ? ',11' : ',16')
HEADING = PIXELS && PIXELS < 700 ? ',11' : ',15'           # of several panels together

# In columns of a paper texts have to do with `room` pixels: the largest font of titles that does, and lines broken at spaces. A letter
# is about 0.56 of its font's size, over a few words.
letters(room, size) = int(room / (0.56 * size))
title_font(words, room) = strlen(words) <= letters(room, 15) ? ',15' : strlen(words) <= letters(room, 13) ? ',13' : ',11'
space(words, n) = n < 2 ? 0 : words[n:n] eq ' ' ? n : space(words, n - 1)
wrap_at(words, n, k) = k ? words[1:k - 1] . "\n" . wrap(words[k + 1:strlen(words)], n) \
                         : words[1:n] . "\n" . wrap(words[n + 1:strlen(words)], n)
wrap(words, n) = strlen(words) <= n ? words : wrap_at(words, n, space(words, n + 1))
fitted(words, room) = PIXELS ? wrap(words, letters(room, 11)) : words

# How many letters nearer to the panel names of axes stand than where gnuplot puts them: it takes TeX's tics for narrower than they are.
nearer(n) = FORMAT eq 'tikz' ? -1 : FORMAT eq 'cairolatex' ? 0 : n

# A step of 1, 2 or 5 times a power of ten that cuts `span` into about n parts.
magnitude(x) = 10 ** floor(log10(x))
rounded(x) = x / magnitude(x) < 1.5 ? magnitude(x) : x / magnitude(x) < 3.5 ? 2 * magnitude(x) : \
             x / magnitude(x) < 7.5 ? 5 * magnitude(x) : 10 * magnitude(x)
step(span, n) = rounded(span / n)

# A key below the panels, in `columns` columns of a picture in columns of a paper, `rows` of them: entry k (from 1) begins there, above
# the note at the foot. key_entry and key_line are commands: of entry k, its name (an expression, as text), its mark or line, its colour.
key_x(k, columns) = ((k - 1) % columns + 0.12) / columns
key_y(k, columns, rows) = (30.0 + 19 * (rows - 1 - (k - 1) / columns)) / HEIGHT
key_entry(k, columns, rows, name, mark, tint) = \
    sprintf("set label %d %s at screen %.5f, screen %.5f left font ',11' point pointtype %d pointsize 0.8 linecolor rgb '%s' ", \
            10 + k, name, key_x(k, columns) + 11.0 / WIDTH, key_y(k, columns, rows), mark, tint) . 'offset 1.6, -0.25'
key_line(k, columns, rows, name, width, dash, tint) = \
    sprintf("set label %d %s at screen %.5f, screen %.5f left font ',11';", 10 + k, name, key_x(k, columns) + 28.0 / WIDTH, \
            key_y(k, columns, rows)) . \
    sprintf("set arrow %d from screen %.5f, screen %.5f rto screen %.5f, screen 0 nohead linewidth %g dashtype %d ", \
            10 + k, key_x(k, columns), key_y(k, columns, rows), 24.0 / WIDTH, width + 0.01 * (k % 9), dash) . \
    sprintf("linecolor rgb '%s'", tint)        # SVG would go on with the dashes of the line before, were width and colour alike
