# Two panels: the mean error of unit vectors' inner products and d times its variance, against the true product. A line that leaves 0
# in the first is a bias, which grows with the product.
STYLES = int(FIRST[10])
array PANEL[N]; array STYLE_OF[N]; array NAME_OF[N]
set datafile separator "\t"
LONGEST = 8
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using (PANEL[i] = int($6), STYLE_OF[i] = int($7), NAME_OF[i] = strcol(8), $4) nooutput
    LONGEST = strlen(NAME_OF[i]) > LONGEST ? strlen(NAME_OF[i]) : LONGEST
}
ACROSS = fit(2, 90, 360)
DOWN = 2 / ACROSS
WIDTH = PIXELS ? PIXELS : 90 + 420 * ACROSS
KEY_COLUMNS = PIXELS ? fit(STYLES, 0, 6.2 * LONGEST + 45) : ACROSS
KEY_ROWS = int(ceil(1.0 * STYLES / KEY_COLUMNS))
KEY = (PIXELS ? 10 : 20) + 20 * KEY_ROWS
HEIGHT = 120 + 340 * DOWN + KEY
load STYLE

# stats looks at the ranges of the axes: it comes before they are set.
array LEAST[2]; array MOST[2]
do for [p = 1:2] { LEAST[p] = 0; MOST[p] = 0 }
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using 4:5 name 'S' nooutput
    p = PANEL[i] + 1
    LEAST[p] = S_min_x < LEAST[p] ? S_min_x : LEAST[p]
    MOST[p] = S_max_y > MOST[p] ? S_max_y : MOST[p]
}
set xrange [-0.03:1.03]
set xtics 0, 0.25, 1
set xlabel 'true inner product of unit vectors'
set label 1 'bars: 95 % interval' at screen 0.985, screen 12.0 / HEIGHT right font ',11' textcolor '#606060'
if (PIXELS) {
    do for [i = 1:N] { eval key_entry(STYLE_OF[i], KEY_COLUMNS, KEY_ROWS, 'NAME_OF[i]', shape(STYLE_OF[i]), colour(STYLE_OF[i])) }
}
HEADLINE = EXPERIMENT . ': inner products' . (FIRST[9] eq '' ? '' : ', ' . FIRST[9])
set multiplot layout DOWN, ACROSS title HEADLINE font (PIXELS ? title_font(HEADLINE, WIDTH - 20) : HEADING) \
    margins 80.0 / WIDTH, 1 - 20.0 / WIDTH, (75.0 + KEY) / HEIGHT, 1 - 70.0 / HEIGHT spacing 95.0 / WIDTH, 110.0 / HEIGHT
do for [p = 1:2] {
    if (p == 2) {                        # once is enough, and one key for both
        unset label
        if (!PIXELS) { set key at screen 0.5, screen (KEY + 5.0) / HEIGHT center top vertical \
            maxrows KEY_ROWS noopaque font ',11' }
    } else { unset key }
    SPAN = MOST[p] > LEAST[p] ? MOST[p] - LEAST[p] : 1
    set yrange [LEAST[p] - 0.06 * SPAN : MOST[p] + 0.06 * SPAN]
    set ytics step(SPAN, 5) font ',11'
    set title p == 1 ? 'bias' : 'd × variance' font ',13' offset 0, (PIXELS ? -0.5 : 0)
    BEGIN = p == 1 ? 1 : STYLES + 1
    plot for [i = BEGIN:BEGIN + STYLES - 1] DATA index i - 1 skip 1 using 2:3 with lines linecolor rgb colour(STYLE_OF[i]) notitle, \
         for [i = BEGIN:BEGIN + STYLES - 1] DATA index i - 1 skip 1 using 2:3:4:5 with yerrorbars \
             linecolor rgb colour(STYLE_OF[i]) pointtype shape(STYLE_OF[i]) pointsize 0.9 title NAME_OF[i], \
         p == 1 ? 0 : NaN with lines linecolor '#000000' dashtype 2 notitle
}
unset multiplot
