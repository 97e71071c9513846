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
# The key stands beside, in columns of a paper below.
KEY_COLUMNS = PIXELS / ACROSS > 700 ? 2 : 1
WIDTH = PIXELS ? PIXELS : 1280 * ACROSS
HEIGHT = (PANELS > 1 ? 40 : 0) + (PIXELS ? 400 + 20 * int(ceil((MOST + 2.0) / KEY_COLUMNS)) : 640) * DOWN
load STYLE

set logscale y
set format y '%.0e'
set xlabel COLUMNS[2]
set ylabel METRIC . ', log scale'
set label 1 'bars: 95 % interval' at screen 0.985, screen 12.8 / HEIGHT right font ',11' textcolor '#606060'
set bmargin 5
set samples 200
UPPER = '(√3 π / 2) 4^-b, upper bound'
set key outside right top font ',11'
if (PIXELS) {
    set key outside center bottom maxcols KEY_COLUMNS noopaque
    set bmargin -1
    set xlabel offset 0, 0.5
    set label 1 at graph 0.98, graph 0.96      # the key has its place
}
# One range for all: panels are there to be compared. stats looks at the ranges of the axes, so it comes before they are set.
stats DATA skip 1 using 2:3 name 'S' nooutput
set xrange [S_min_x - 0.3 : S_max_x + 0.3]
set yrange [S_min_y / 4 : S_max_y * 2]

if (PANELS > 1) { set multiplot layout DOWN, ACROSS title EXPERIMENT . ': ' . METRIC font ',16' }
do for [p = 1:PANELS] {
    set title PANELS > 1 ? SUBJECT[FROM[p]] : EXPERIMENT . ': ' . SUBJECT[1]
    plot for [i = FROM[p]:TO[p]] DATA index i - 1 skip 1 using 2:3 with lines linecolor rgb colour(STYLE_OF[i]) linewidth 1.2 \
             notitle, \
         for [i = FROM[p]:TO[p]] DATA index i - 1 skip 1 using 2:3:4:5 with yerrorbars linecolor rgb colour(STYLE_OF[i]) \
             pointtype shape(STYLE_OF[i]) pointsize 0.9 title NAME_OF[i], \
         sqrt(3) * pi / 2 * 4 ** -x with lines linecolor '#606060' dashtype 2 title UPPER, \
         4 ** -x with lines linecolor '#000000' dashtype 3 title '4^-b, lower bound of any code'
}
if (PANELS > 1) { unset multiplot }
