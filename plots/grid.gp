# Small multiples: a grid of value bits by key bits per quantizer, dark where the value is worse, the figure and its error in the cells.
# One scale for all panels, so that they can be compared; where below the diagonal is darker than above, keys need the bits.
set datafile separator "\t"
stats DATA skip 1 using 2 name 'C' nooutput
stats DATA skip 1 using 3 name 'R' nooutput
ACROSS = fit(N < 3 ? N : 3, 90, PIXELS && 75 + 48 * C_max > 340 ? 75 + 48 * C_max : 340)
DOWN = int(ceil(1.0 * N / ACROSS))
WIDTH = PIXELS ? PIXELS : 90 + 340 * ACROSS
HEIGHT = 130 + 330 * DOWN
load STYLE

LOG = FIRST[12] eq '1'
BETTER = int(FIRST[11])
scale(x) = LOG ? log10(x) : x
LOW = scale(real(FIRST[14])); HIGH = scale(real(FIRST[13]))
if (!(HIGH > LOW)) { HIGH = LOW + 1 }
# From the best to the worst, 1 the best.
good(x) = BETTER > 0 ? (scale(x) - LOW) / (HIGH - LOW) : (HIGH - scale(x)) / (HIGH - LOW)
set palette defined (0 '#00224e', 0.25 '#3b496c', 0.5 '#7d7c78', 0.75 '#bcae6c', 1 '#fee838')
set cbrange [0:1]
unset colorbox
unset key
unset grid
set border 0
set tics scale 0 font ',12'
set xrange [0.5:C_max + 0.5]
set yrange [R_max + 0.5:0.5]
SMALL = C_max > 5 ? (PIXELS ? ',10' : ',8') : ',12'
ERROR = PIXELS ? ',10' : ',9'
set label 1 'light: better' . (LOG ? ', by the logarithm' : '') at screen 0.985, screen 12.0 / HEIGHT right font ',11' textcolor '#606060'
set multiplot layout DOWN, ACROSS title EXPERIMENT . ': ' . METRIC . (FIRST[10] eq '' ? '' : ' (' . FIRST[10] . ')') . \
    (FIRST[9] eq '' ? '' : ', ' . FIRST[9]) font HEADING \
    margins 80.0 / WIDTH, 1 - 20.0 / WIDTH, 75.0 / HEIGHT, 1 - 85.0 / HEIGHT spacing 75.0 / WIDTH, 100.0 / HEIGHT
set xlabel 'bits of values' offset 0, 0.4
set ylabel 'bits of keys' offset nearer(PIXELS ? 0.5 : 2), 0
do for [i = 1:N] {
    if (i == 2) { unset label 1 }        # once is enough
    set title SERIES[i] font ',13' offset 0, -0.5
    plot DATA index i - 1 skip 1 using 2:3:($2 - 0.48):($2 + 0.48):($3 - 0.47):($3 + 0.47):(good($6)):xtic(4):ytic(5) with boxxyerror \
             fillstyle solid noborder fillcolor palette, \
         DATA index i - 1 skip 1 using 2:($3 - 0.1):(good($6) < 0.6 ? strcol(7) : '') with labels font SMALL textcolor '#ffffff', \
         DATA index i - 1 skip 1 using 2:($3 - 0.1):(good($6) < 0.6 ? '' : strcol(7)) with labels font SMALL textcolor '#000000', \
         DATA index i - 1 skip 1 using 2:($3 + 0.2):(good($6) < 0.6 ? strcol(8) : '') with labels font ERROR textcolor '#ffffff', \
         DATA index i - 1 skip 1 using 2:($3 + 0.2):(good($6) < 0.6 ? '' : strcol(8)) with labels font ERROR textcolor '#000000'
}
unset multiplot
