# A panel for each model: one measure against the other, a colour and shape for each quantizer, numbers at the few that stand farthest
# from their place in the other order, whose names stand beside. Axes are logarithmic where all values are above 0.
PANELS = int(FIRST[11])
LONGEST = 8
do for [i = 1:N] { LONGEST = strlen(SERIES[i]) > LONGEST ? strlen(SERIES[i]) : LONGEST }
LETTERS = int(FIRST[17])
NAMED = 5
LINE = 16.0
ACROSS = fit(PANELS < 3 ? PANELS : 2, 0, PIXELS ? 450 : 430)
DOWN = int(ceil(1.0 * PANELS / ACROSS))
# The key and the names stand beside, in columns of a paper below: the names under their panel.
KEY = PIXELS ? 0 : 7.2 * LONGEST + 50 > 6.4 * LETTERS + 40 ? 7.2 * LONGEST + 50 : 6.4 * LETTERS + 40
WIDTH = PIXELS ? PIXELS : 110 + 430 * ACROSS + KEY
KEY_COLUMNS = fit(N, 0, 6.2 * LONGEST + 45)
KEY_ROWS = (N + KEY_COLUMNS - 1) / KEY_COLUMNS
LIST = PIXELS ? 85 : 60 + LINE * N
NAMES = PIXELS ? LINE * (NAMED + 0.5) : 0                  # pixels of names under a panel
PANEL = 300                                                # a panel's own height in columns of a paper
ROW = PANEL + 116 + NAMES
BELOW = PIXELS ? 19 * KEY_ROWS + 10 : 0
HEIGHT = PIXELS ? 40 + ROW * DOWN + BELOW : \
    115 + 380 * DOWN > LIST + LINE * (NAMED + 1.5) * PANELS + 40 ? 115 + 380 * DOWN : LIST + LINE * (NAMED + 1.5) * PANELS + 40
load STYLE

array NAME[PANELS]; array XNAME[PANELS]; array YNAME[PANELS]
do for [p = 1:PANELS] {
    stats DATA skip 1 using ($2 == p ? (NAME[p] = strcol(12), XNAME[p] = strcol(13), YNAME[p] = strcol(14), $3) : NaN) nooutput
}
# Where the list of a panel's names begins, in pixels from the left and the top.
list_x(p) = PIXELS ? 25.0 + ((p - 1) % ACROSS) * WIDTH / ACROSS : WIDTH - KEY + 15
list_y(p) = PIXELS ? 65 + PANEL + 64 + ((p - 1) / ACROSS) * ROW : LIST + LINE * (NAMED + 1.5) * (p - 1) + LINE
do for [p = 1:PANELS] {
    if (!PIXELS) { set label 100 * p word(NAME[p], 1) at screen list_x(p) / WIDTH, screen 1 - list_y(p) / HEIGHT left font ',11' }
    do for [k = 1:NAMED] {
        TEXT = ''
        stats DATA skip 1 using ($2 == p && $10 == k && $15 > 0 ? (TEXT = strcol(9), $3) : NaN) nooutput
        if (TEXT ne '') {
            set label 100 * p + k sprintf('%d  %s', k, TEXT) at screen list_x(p) / WIDTH, screen 1 - (list_y(p) + LINE * k) / HEIGHT left \
                font ',10' textcolor '#404040'
        }
    }
}
if (PIXELS) { do for [i = 1:N] { eval key_entry(i, KEY_COLUMNS, KEY_ROWS, 'SERIES[i]', shape(i), colour(i)) } }
set errorbars 0
set grid xtics ytics
set label 1 fitted('ρ: Spearman, 95 %; bars: 95 %; numbered: those farthest from their place', WIDTH - 10) \
    at screen 0.985, screen 14.0 / HEIGHT right font ',11' textcolor '#606060'
HEADLINE = EXPERIMENT . ': ' . XNAME[1] . ' and ' . YNAME[1]
set multiplot layout DOWN, ACROSS title HEADLINE font (PIXELS ? title_font(HEADLINE, WIDTH - 20) : ',16') \
    margins 85.0 / WIDTH, 1 - (KEY + 25.0) / WIDTH, ((PIXELS ? 91.0 : 85.0) + NAMES + BELOW) / HEIGHT, 1 - (PIXELS ? 65.0 : 75.0) / HEIGHT \
    spacing 95.0 / WIDTH, (PIXELS ? 116.0 + NAMES : 110.0) / HEIGHT
do for [p = 1:PANELS] {
    stats DATA skip 1 using ($2 == p ? $3 : NaN):($2 == p ? $4 : NaN) name 'S' nooutput
    XLOG = S_min_x > 0
    YLOG = S_min_y > 0
    XSPAN = XLOG ? (S_max_x / S_min_x) ** 0.15 * 1.1 : 0.15 * (S_max_x - S_min_x) + 1e-12
    YSPAN = YLOG ? (S_max_y / S_min_y) ** 0.1 * 1.1 : 0.1 * (S_max_y - S_min_y) + 1e-12
    if (XLOG) { set logscale x; set format x '%.0e'; set xrange [S_min_x / XSPAN:S_max_x * XSPAN] } \
    else { unset logscale x; set format x '%g'; set xrange [S_min_x - XSPAN:S_max_x + XSPAN] }
    if (YLOG) { set logscale y; set format y '%.0e'; set yrange [S_min_y / YSPAN:S_max_y * YSPAN] } \
    else { unset logscale y; set format y '%g'; set yrange [S_min_y - YSPAN:S_max_y + YSPAN] }
    set xtics font ',11'
    set ytics font ',11'
    set title fitted(NAME[p], WIDTH / ACROSS - 75) font (PIXELS ? ',11' : ',13') offset 0, -0.5
    set xlabel XNAME[p] . (XLOG ? ', log scale' : '') offset 0, (PIXELS ? 0.7 : 0)
    # gnuplot leaves out what would begin left of the picture.
    set ylabel YNAME[p] . (YLOG ? ', log scale' : '') offset ((p - 1) % ACROSS ? 0 : nearer(2)), 0
    unset key
    if (p == 1 && !PIXELS) {
        set key at screen 1 - (KEY + 5.0) / WIDTH, screen 1 - 45.0 / HEIGHT left top vertical Left reverse noopaque samplen 1 font ',11'
    }
    plot for [i = 1:N] DATA index i - 1 skip 1 using ($2 == p ? $3 : NaN):4:7:8 with yerrorbars linecolor rgb colour(i) pointtype shape(i) \
             pointsize 0.9 linewidth 1 title SERIES[i], \
         DATA skip 1 using ($2 == p && $10 <= NAMED && $15 > 0 ? $3 : NaN):4:(sprintf('%d', int($10))) with labels offset 0.9, -0.5 font ',11' \
             textcolor '#000000' notitle
    do for [q = 1:PANELS] { do for [k = 0:NAMED] { unset label 100 * q + k } }
    do for [k = 1:N] { unset label 10 + k }                                                 # once is enough
}
unset multiplot
