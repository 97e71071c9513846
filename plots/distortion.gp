# Distortion falls fourfold per bit: lines by quantizer on a log axis, between the least that any code can do and the upper bound of
# a random rotation with the best scalar codebook. Bounds count no norms or scales, stored bits do. A panel for each model and data.
array PANEL[N]; array STYLE_OF[N]; array NAME_OF[N]; array SUBJECT[N]
set datafile separator "\t"
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using (PANEL[i] = int($8), STYLE_OF[i] = int($10), NAME_OF[i] = strcol(9), \
                                         SUBJECT[i] = strcol(7), 0) nooutput
}
PANELS = PANEL[N]
array FROM[PANELS]; array TO[PANELS]
do for [i = 1:N] {
    if (i == 1 || PANEL[i] != PANEL[i > 1 ? i - 1 : 1]) { FROM[PANEL[i]] = i }
    TO[PANEL[i]] = i
}
MOST = 0
do for [p = 1:PANELS] { MOST = TO[p] - FROM[p] + 1 > MOST ? TO[p] - FROM[p] + 1 : MOST }
ACROSS = fit(PANELS < 2 ? 1 : 2, 0, 460)
DOWN = int(ceil(1.0 * PANELS / ACROSS))
# The key stands beside, in columns of a paper below, one for all panels.
UPPER = '(√3 π / 2) 4^-b, upper bound'
LOWER = '4^-b, lower bound of any code'
LONGEST = strlen(LOWER); STYLES = 0
do for [i = 1:N] {
    LONGEST = strlen(NAME_OF[i]) > LONGEST ? strlen(NAME_OF[i]) : LONGEST
    STYLES = STYLE_OF[i] > STYLES ? STYLE_OF[i] : STYLES
}
WIDTH = PIXELS ? PIXELS : 1280 * ACROSS
KEY_COLUMNS = fit(STYLES + 2, 0, 6.2 * LONGEST + 45)
KEY_ROWS = (STYLES + 2 + KEY_COLUMNS - 1) / KEY_COLUMNS
BELOW = 75.0 + 19 * KEY_ROWS + 10
HEAD = PANELS > 1 ? 85.0 : 50.0
HEIGHT = PIXELS ? HEAD + 405 * DOWN - 105 + BELOW : (PANELS > 1 ? 40 : 0) + 640 * DOWN
load STYLE

set logscale y
set format y '%.0e'
set xlabel COLUMNS[2]
set ylabel METRIC . ', log scale' offset nearer(PIXELS ? 1 : 0), 0
set label 1 'bars: 95 % interval' at screen 0.985, screen 12.8 / HEIGHT right font ',11' textcolor '#606060'
set bmargin 5
set samples 200
set key outside right top font ',11'
if (PIXELS) {
    unset key
    set xlabel offset 0, 0.3
    do for [i = 1:N] { eval key_entry(STYLE_OF[i], KEY_COLUMNS, KEY_ROWS, 'NAME_OF[i]', shape(STYLE_OF[i]), colour(STYLE_OF[i])) }
    eval key_line(STYLES + 1, KEY_COLUMNS, KEY_ROWS, 'UPPER', 1, 2, '#606060')
    eval key_line(STYLES + 2, KEY_COLUMNS, KEY_ROWS, 'LOWER', 1, 3, '#000000')
}
# One range for all: panels are there to be compared. stats looks at the ranges of the axes, so it comes before they are set.
stats DATA skip 1 using 2:3 name 'S' nooutput
set xrange [S_min_x - 0.3 : S_max_x + 0.3]
set yrange [S_min_y / 4 : S_max_y * 2]

HEADLINE = EXPERIMENT . ': ' . (PANELS > 1 ? METRIC : SUBJECT[1])
if (PIXELS) {
    set multiplot layout DOWN, ACROSS title fitted(HEADLINE, WIDTH - 20) font title_font(HEADLINE, WIDTH - 20) \
        margins 95.0 / WIDTH, 1 - 20.0 / WIDTH, BELOW / HEIGHT, 1 - HEAD / HEIGHT spacing 115.0 / WIDTH, 105.0 / HEIGHT
}
if (PANELS > 1 && !PIXELS) { set multiplot layout DOWN, ACROSS title HEADLINE font ',16' }
do for [p = 1:PANELS] {
    set title PANELS > 1 ? SUBJECT[FROM[p]] : EXPERIMENT . ': ' . SUBJECT[1]
    if (PIXELS) { unset title }
    if (PIXELS && PANELS > 1) { set title fitted(SUBJECT[FROM[p]], WIDTH / ACROSS - 80) font ',11' offset 0, -0.3 }
    if (PIXELS && p > 1) { unset label; unset arrow }        # once is enough
    plot for [i = FROM[p]:TO[p]] DATA index i - 1 skip 1 using 2:3 with lines linecolor rgb colour(STYLE_OF[i]) linewidth 1.2 \
             notitle, \
         for [i = FROM[p]:TO[p]] DATA index i - 1 skip 1 using 2:3:4:5 with yerrorbars linecolor rgb colour(STYLE_OF[i]) \
             pointtype shape(STYLE_OF[i]) pointsize 0.9 title NAME_OF[i], \
         sqrt(3) * pi / 2 * 4 ** -x with lines linecolor '#606060' dashtype 2 title UPPER, \
         4 ** -x with lines linecolor '#000000' dashtype 3 title LOWER
}
if (PANELS > 1 || PIXELS) { unset multiplot }
