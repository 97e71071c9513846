# Points with error bars, one colour and shape per quantizer; the reference as a line across; the front as steps. Names stand below
# points of the front and above the others, where the steps leave room.
WIDTH = 960
HEIGHT = 640
load STYLE

# Blocks come as references, quantizers, fronts: 1...LINES, to POINTS, to N. The ranges are those of the quantizers: the reference's
# bits lie far to the right, and the picture ends before them.
LINES = 0; POINTS = 0; LONGEST = 0
XMIN = 1e9; XMAX = -1e9; YMIN = 1e300; YMAX = -1e300
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using 2:3 name 'S' nooutput
    stats DATA index i - 1 skip 1 using (valid(4) ? $4 : $3):(valid(5) ? $5 : $3) name 'B' nooutput
    YMIN = B_min_x < YMIN ? B_min_x : YMIN
    YMAX = B_max_y > YMAX ? B_max_y : YMAX
    stats DATA index i - 1 skip 1 using 13 name 'P' nooutput
    if (P_max == 1) { LINES = i }
    if (P_max <= 2) { POINTS = i }
    if (P_max == 2) {
        XMIN = S_min_x < XMIN ? S_min_x : XMIN
        XMAX = S_max_x > XMAX ? S_max_x : XMAX
        stats DATA index i - 1 skip 1 using 11 name 'L' nooutput
        LONGEST = L_max > LONGEST ? L_max : LONGEST
    }
}
if (POINTS == LINES) { XMIN = 0; XMAX = 16 }
SPAN = XMAX > XMIN ? XMAX - XMIN : 1
# Room for the longest name on both sides, as a share of the picture.
SIDE = 0.02 + 0.0085 * LONGEST
SIDE = SIDE < 0.3 ? SIDE : 0.3
LEFT = XMIN - SIDE / (1 - 2 * SIDE) * SPAN
RIGHT = XMAX + SIDE / (1 - 2 * SIDE) * SPAN
set xrange [LEFT:RIGHT]

LOG = YMIN > 0 && (METRIC eq 'perplexity' || YMAX / YMIN > 20)
ROOM = YMAX > YMIN ? YMAX - YMIN : 0.1 * abs(YMAX) + 1e-12
if (LOG) {
    FACTOR = YMAX > YMIN ? YMAX / YMIN : 1.1
    set logscale y
    set yrange [YMIN * FACTOR ** -0.1 : YMAX * FACTOR ** 0.15]
    # Within a decade gnuplot would label one tic: name round values instead.
    if (FACTOR < 20) {
        STEP = step(ROOM, 6)
        unset ytics
        set for [k = ceil(0.7 * YMIN / STEP):floor(1.4 * YMAX / STEP)] ytics add (sprintf('%g', k * STEP) k * STEP)
        set ytics nomirror out textcolor '#202020'
    }
} else {
    set yrange [YMIN - 0.1 * ROOM : YMAX + 0.15 * ROOM]
}

set title EXPERIMENT . ': ' . FIRST[7]
set xlabel COLUMNS[2]
set ylabel METRIC . (FIRST[9] eq '' ? '' : ' (' . FIRST[9] . ')') . (LOG ? ', log scale' : '')
set label 1 FIRST[8] at screen 0.985, screen 0.02 right font ',11' textcolor '#606060'
set bmargin 5

plot for [i = POINTS + 1:N] DATA index i - 1 skip 1 using 2:3 with steps linecolor '#909090' linewidth 1.5 title SERIES[i], \
     for [i = 1:LINES] DATA index i - 1 skip 1 using (LEFT):3:(RIGHT - LEFT):(0) with vectors nohead linecolor '#000000' dashtype 2 notitle, \
     for [i = 1:LINES] DATA index i - 1 skip 1 using (RIGHT):3:12 with labels right offset -0.5, 0.6 \
         textcolor '#000000' font ',12' notitle, \
     for [i = LINES + 1:POINTS] DATA index i - 1 skip 1 using 2:3:4:5 with yerrorbars linecolor rgb colour(i) pointtype shape(i) \
         pointsize 0.9 linewidth 1.2 title SERIES[i], \
     for [i = LINES + 1:POINTS] DATA index i - 1 skip 1 using ($10 == 1 ? $2 : NaN):3:6 with labels right offset -0.8, -0.6 \
         textcolor rgb colour(i) font ',11' notitle, \
     for [i = LINES + 1:POINTS] DATA index i - 1 skip 1 using ($10 == 1 ? NaN : $2):3:6 with labels left offset 0.8, 0.6 \
         textcolor rgb colour(i) font ',11' notitle
