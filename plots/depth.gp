# A panel for each setting, a line for each cache: f16's thick and black, the others thin with points; bars reach to the best repeat.
# Depths are spaced by their logarithm, unless one of them is 0; times and rates too, but not what is relative to f16.
array PANEL[N]; array STYLE_OF[N]; array NAME_OF[N]; array TITLES[N]; array AXIS[N]; array LINE[N]; array RELATIVE[N]
set datafile separator "\t"
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using (PANEL[i] = int($6), STYLE_OF[i] = int($10), NAME_OF[i] = strcol(9), TITLES[i] = strcol(7), \
        AXIS[i] = strcol(8), LINE[i] = int($5), RELATIVE[i] = int($15), 0) nooutput
}
PANELS = int(FIRST[11])
ACROSS = int(FIRST[12])
ONE = PIXELS ? 365 : PANELS > 1 ? 430 : 640               # pixels across of a panel
ACROSS = fit(PANELS < 2 ? 1 : ACROSS < 2 ? 2 : ACROSS > 3 ? 3 : ACROSS, 90, ONE)
DOWN = int(ceil(1.0 * PANELS / ACROSS))
if (PIXELS) { ONE = (PIXELS - 110.0) / ACROSS }
# The key stands beside, in columns of a paper below.
NAME = 7.2 * int(FIRST[13]) + 50
KEY = PIXELS ? 0 : NAME
WIDTH = 90 + ONE * ACROSS + KEY + (PIXELS ? 20 : 0)
KEY_COLUMNS = WIDTH > 2 * NAME ? int(WIDTH / NAME) : 1
KEY_ROWS = (int(FIRST[14]) + KEY_COLUMNS - 1) / KEY_COLUMNS
BELOW = PIXELS ? 19 * KEY_ROWS + 10 : 0
HEIGHT = 130 + (PANELS > 1 ? 330 : 420) * DOWN + BELOW
TALL = 100 + 17 * int(FIRST[14])
HEIGHT = !PIXELS && TALL > HEIGHT ? TALL : HEIGHT
load STYLE

array FROM[PANELS]; array TO[PANELS]; array XMIN[PANELS]; array XMAX[PANELS]; array YMIN[PANELS]; array YMAX[PANELS]
do for [i = 1:N] {
    p = PANEL[i]
    if (i == 1 || p != PANEL[i > 1 ? i - 1 : 1]) { FROM[p] = i; XMIN[p] = 1e99; XMAX[p] = -1; YMIN[p] = 1e99; YMAX[p] = 0 }
    TO[p] = i
    stats DATA index i - 1 skip 1 using 2:3 name 'S' nooutput
    stats DATA index i - 1 skip 1 using 4 name 'B' nooutput
    XMIN[p] = S_min_x < XMIN[p] ? S_min_x : XMIN[p]
    XMAX[p] = S_max_x > XMAX[p] ? S_max_x : XMAX[p]
    YMIN[p] = S_min_y < YMIN[p] ? S_min_y : YMIN[p]
    YMAX[p] = S_max_y > YMAX[p] ? S_max_y : YMAX[p]
    YMIN[p] = B_min < YMIN[p] ? B_min : YMIN[p]
    YMAX[p] = B_max > YMAX[p] ? B_max : YMAX[p]
}
set format y '%g'
set errorbars 0
set grid xtics ytics
set xtics font ',11'
set ytics font ',11'
set label 1 'points: medians, bars to the best repeat' at screen 0.985, screen 14.0 / HEIGHT right font ',11' textcolor '#606060'
# Black is f16's; whose turn it would be gets the colour that f16 leaves.
tint(i) = LINE[i] ? '#000000' : LINE[1] && colour(STYLE_OF[i]) eq '#000000' ? colour(1) : colour(STYLE_OF[i])

if (BELOW) {
    do for [i = 1:N] { eval key_entry(STYLE_OF[i], KEY_COLUMNS, KEY_ROWS, 'NAME_OF[i]', shape(STYLE_OF[i]), tint(i)) }
}

HEADLINE = EXPERIMENT . ': speed over depth'
set multiplot layout DOWN, ACROSS title HEADLINE font (PIXELS ? title_font(HEADLINE, WIDTH - 20) : ',16') \
    margins 80.0 / WIDTH, 1 - (KEY + 20.0) / WIDTH, (85.0 + BELOW) / HEIGHT, 1 - 75.0 / HEIGHT \
    spacing 85.0 / WIDTH, (PIXELS ? 105.0 : 90.0) / HEIGHT
do for [p = 1:PANELS] {
    if (XMIN[p] > 0) {
        set logscale x 2
        set xrange [XMIN[p] / 1.3:XMAX[p] * 1.3]
    } else {
        unset logscale x
        set xrange [-0.05 * XMAX[p]:1.05 * XMAX[p] + 1]
    }
    unset ytics
    if (RELATIVE[FROM[p]]) {
        ROOM = 0.08 * (YMAX[p] - YMIN[p]) + 0.02
        unset logscale y
        set yrange [YMIN[p] - ROOM:YMAX[p] + ROOM]
        set ytics step(YMAX[p] - YMIN[p] + 2 * ROOM, 6)
    } else {
        set logscale y
        set yrange [YMIN[p] / 1.3:YMAX[p] * 1.3]
        do for [k = floor(log10(YMIN[p])):ceil(log10(YMAX[p]))] { do for [m = 1:3] {
            TIC = (m == 1 ? 1 : m == 2 ? 2 : 5) * 10.0 ** k
            set ytics add (sprintf('%g', TIC) TIC)
        } }
    }
    set ytics nomirror out textcolor '#202020' font ',11'
    set title TITLES[FROM[p]] font ',13' offset 0, -0.5
    if (p > PANELS - ACROSS) { set xlabel COLUMNS[2] font ',12' } else { unset xlabel }
    set ylabel AXIS[FROM[p]] offset nearer(0), 0 font ',12'
    unset key
    if (p == 1 && !BELOW) {
        set key at screen 1 - (KEY + 5.0) / WIDTH, screen 1 - 60.0 / HEIGHT left top vertical Left reverse noopaque samplen 1.5 font ',11'
    }
    plot for [i = FROM[p]:TO[p]] DATA index i - 1 skip 1 using 2:3 with lines linecolor rgb tint(i) linewidth (LINE[i] ? 2.5 : 1) \
             notitle, \
         for [i = FROM[p]:TO[p]] DATA index i - 1 skip 1 using 2:3:4:3 with yerrorbars linecolor rgb tint(i) \
             pointtype shape(STYLE_OF[i]) pointsize 0.8 linewidth (LINE[i] ? 2.5 : 1) title NAME_OF[i]
    unset label
}
unset multiplot
