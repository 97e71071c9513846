# What all plots share: colours that colour-blind readers can tell apart (Okabe and Ito), a shape for each, fonts, terminal.
# Load it once WIDTH and HEIGHT (pixels) are set.
set encoding utf8
set datafile separator "\t"
set datafile commentschars ""
if (FORMAT eq 'svg') set terminal svg size WIDTH, HEIGHT dynamic noenhanced font 'sans-serif,14' background rgb 'white'
if (FORMAT eq 'png') set terminal pngcairo size 1.5*WIDTH, 1.5*HEIGHT noenhanced font 'Sans,13' fontscale 1.2 linewidth 1.5 pointscale 1.5
if (FORMAT eq 'pdf') set terminal pdfcairo size WIDTH/96.0, HEIGHT/96.0 noenhanced font 'Sans,9'
# Its sizes are no expressions; centimetres, for fonts in points.
if (FORMAT eq 'tikz') eval sprintf("set terminal tikz size %.2f,%.2f font '\\fontsize{13}{15}\\selectfont'", \
                                   WIDTH * 2.54 / 72, HEIGHT * 2.54 / 72)
set output OUTPUT

array COLOUR[7] = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000']
array SHAPE[8] = [7, 5, 9, 13, 11, 4, 6, 8]
colour(i) = COLOUR[1 + (i - 1) % 7]
shape(i) = SHAPE[1 + (i - 1) % 8]

set border 3 linecolor '#404040'
set tics nomirror out textcolor '#202020'
set grid linecolor '#dddddd' linetype 1 linewidth 0.5
set key top right opaque noenhanced samplen 2
set title font ',16'

# A step of 1, 2 or 5 times a power of ten that cuts `span` into about n parts.
magnitude(x) = 10 ** floor(log10(x))
rounded(x) = x / magnitude(x) < 1.5 ? magnitude(x) : x / magnitude(x) < 3.5 ? 2 * magnitude(x) : \
             x / magnitude(x) < 7.5 ? 5 * magnitude(x) : 10 * magnitude(x)
step(span, n) = rounded(span / n)
