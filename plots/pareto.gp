# Points with error bars, one colour and shape per quantizer; the reference as a line across; the front as steps; a panel for each
# model and text. Names stand before points of the front and behind the others, where the steps leave room, and make way for each other.
# In columns of a paper a name is what the key does not say, and where points are many those of the front alone have one.

# A block is of one panel (column 16) and place: references (1), quantizers (2), fronts (3), in this order. Panel p has the blocks
# FROM[p] ... TO[p], of them references to LINES[p] and quantizers to POINTS[p].
array PANEL[N]; array PLACE[N]; array STYLE_OF[N]; array NAME_OF[N]; array SUBJECT[N]
PANELS = 0
set datafile separator "\t"
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using (PANEL[i] = int($16), PLACE[i] = int($13), STYLE_OF[i] = int($18), NAME_OF[i] = strcol(17), \
                                         SUBJECT[i] = strcol(7), 0) nooutput
    PANELS = PANEL[i] > PANELS ? int(PANEL[i]) : PANELS
}
array FROM[PANELS]; array LINES[PANELS]; array POINTS[PANELS]; array TO[PANELS]
do for [p = 1:PANELS] {
    FROM[p] = 0
    do for [i = 1:N] { if (PANEL[i] == p) {
        if (!FROM[p]) { FROM[p] = i; LINES[p] = i - 1; POINTS[p] = i - 1 }
        if (PLACE[i] == 1) { LINES[p] = i }
        if (PLACE[i] <= 2) { POINTS[p] = i }
        TO[p] = i
    } }
}
MOST = 0
do for [p = 1:PANELS] { MOST = TO[p] - FROM[p] + 1 > MOST ? TO[p] - FROM[p] + 1 : MOST }
ACROSS = fit(PANELS < 2 ? 1 : 2, 0, 460)
DOWN = int(ceil(1.0 * PANELS / ACROSS))
ONE = MOST > 10 ? 1280 : PANELS > 1 ? 800 : 960       # pixels across of one panel: a long key stands beside
# In columns of a paper it stands below.
KEY_COLUMNS = PIXELS / ACROSS > 700 ? 2 : 1
BELOW = PIXELS ? 19 * int(ceil(1.0 * MOST / KEY_COLUMNS)) + 15 : 0
if (PIXELS) { ONE = PIXELS / ACROSS }
WIDTH = ACROSS * ONE
HEIGHT = PIXELS ? 40 + (440 + BELOW) * DOWN : PANELS > 1 ? 40 + 600 * DOWN : 640
load STYLE

# Of a name, as a share of a panel's plot.
LETTER = PIXELS ? 6.2 / (ONE - 110) : 0.0085 * 960 / (MOST > 10 ? 960 : ONE)
LINE = PIXELS ? 0.042 : 0.03
grey(k) = k == 1 ? '#909090' : k == 2 ? '#c0c0c0' : '#606060'
set xlabel COLUMNS[2]
set style textbox opaque noborder fillcolor rgb "#ffffff" margins 0.3, 0.3    # names cover the lines that they cross
set bmargin 5
SIGN = FIRST[14] eq '1' ? 1 : -1
if (SIGN > 0) { set key bottom right }
if (MOST > 10) { set key outside right top font ',11' }
if (BELOW) { set key outside center bottom maxcols KEY_COLUMNS noopaque font ',11'; set bmargin -1 }
if (PANELS > 1) { set multiplot layout DOWN, ACROSS title EXPERIMENT . ': ' . METRIC font ',16' }

do for [p = 1:PANELS] {
    unset label
    unset arrow
    unset logscale y
    set autoscale
    set ytics autofreq nomirror out textcolor '#202020'

    # The ranges are those of the quantizers: the reference's bits lie far to the right, and the picture ends before them.
    LONGEST = 0; NAMES = 0
    XMIN = 1e9; XMAX = -1e9; YMIN = 1e300; YMAX = -1e300
    do for [i = FROM[p]:TO[p]] {
        stats DATA index i - 1 skip 1 using 2:3 name 'S' nooutput
        stats DATA index i - 1 skip 1 using (valid(4) ? $4 : $3):(valid(5) ? $5 : $3) name 'B' nooutput
        YMIN = B_min_x < YMIN ? B_min_x : YMIN
        YMAX = B_max_y > YMAX ? B_max_y : YMAX
        if (PLACE[i] == 2) {
            XMIN = S_min_x < XMIN ? S_min_x : XMIN
            XMAX = S_max_x > XMAX ? S_max_x : XMAX
            stats DATA index i - 1 skip 1 using 11 name 'L' nooutput
            LONGEST = L_max > LONGEST ? L_max : LONGEST
            NAMES = NAMES + int(L_records)
        }
    }
    if (POINTS[p] == LINES[p]) { XMIN = 0; XMAX = 16 }
    SPAN = XMAX > XMIN ? XMAX - XMIN : 1
    # Room for the longest name on both sides, as a share of the picture.
    SIDE = 0.02 + LETTER * LONGEST
    SIDE = SIDE < 0.3 ? SIDE : 0.3
    LEFT = XMIN - SIDE / (1 - 2 * SIDE) * SPAN
    RIGHT = XMAX + SIDE / (1 - 2 * SIDE) * SPAN

    LOG = YMIN > 0 && (METRIC eq 'perplexity' || YMAX / YMIN > 20)
    ROOM = YMAX > YMIN ? YMAX - YMIN : 0.1 * abs(YMAX) + 1e-12
    FACTOR = LOG && YMAX > YMIN ? YMAX / YMIN : 1.1

    # Names, in order of value. A name takes a place in shares of the picture; one that would stand on another moves on, away from the
    # front, and a thin line leads to it.
    array X[NAMES + 1]; array Y[NAMES + 1]; array NAME[NAMES + 1]; array LETTERS[NAMES + 1]; array ON_FRONT[NAMES + 1]
    array OWNER[NAMES + 1]; array AT[NAMES + 1]
    do for [i = LINES[p] + 1:POINTS[p]] {
        stats DATA index i - 1 skip 1 using (X[int($15)] = $2, Y[int($15)] = $3, NAME[int($15)] = strcol(6), LETTERS[int($15)] = $11, \
                                             ON_FRONT[int($15)] = $10, OWNER[int($15)] = STYLE_OF[i] + 1, 0) nooutput
    }
    if (PIXELS) {
        MANY = NAMES > 24 || (NAMES > 12 && ONE < 700)
        do for [i = LINES[p] + 1:POINTS[p]] {
            stats DATA index i - 1 skip 1 using (NAME[int($15)] = MANY && $10 == 0 ? '' : strcol(19), 0) nooutput
        }
        do for [k = 1:NAMES] { LETTERS[k] = strlen(NAME[k]) }
        # Names need room where their points are: before those of the front, behind the others.
        do for [pass = 1:30] {
            ROOM = RIGHT - LEFT
            LEFT = XMIN - 0.04 * ROOM; RIGHT = XMAX + 0.04 * ROOM
            do for [k = 1:NAMES] { if (LETTERS[k]) {
                NEED = (LETTER * LETTERS[k] + 0.03 < 0.55 ? LETTER * LETTERS[k] + 0.03 : 0.55) * ROOM
                if (ON_FRONT[k] == 1 && X[k] - NEED < LEFT) { LEFT = X[k] - NEED }
                if (ON_FRONT[k] == 0 && X[k] + NEED > RIGHT) { RIGHT = X[k] + NEED }
            } }
        }
    }
    # stats looks at the ranges of the axes: it comes before they are set.
    set xrange [LEFT:RIGHT]
    if (LOG) {
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
    BOTTOM = LOG ? log(YMIN) - 0.1 * log(FACTOR) : YMIN - 0.1 * ROOM
    TALL = LOG ? 1.25 * log(FACTOR) : 1.25 * ROOM
    share(y) = ((LOG ? log(y) : y) - BOTTOM) / TALL
    do for [pass = 0:1] { do for [k = 1:NAMES] {
        # Away from the front is upwards for what should be small, and the lowest comes first; the front's own go the other way.
        WAY = pass ? SIGN : -SIGN
        n = WAY > 0 ? k : NAMES + 1 - k
        if (ON_FRONT[n] == pass && NAME[n] ne '') {
            AT[n] = share(Y[n]) + WAY * 0.02
            do for [j = 1:NAMES] {
                # Those before n in this order have their places, from the nearest to the farthest.
                m = WAY > 0 ? j : NAMES + 1 - j
                NEAR = LETTER * (pass ? LETTERS[n] : LETTERS[m]) + 0.02
                if (j < k && ON_FRONT[m] == pass && NAME[m] ne '' && abs(X[m] - X[n]) / (RIGHT - LEFT) < NEAR \
                    && WAY * (AT[n] - AT[m]) < LINE) { AT[n] = AT[m] + WAY * LINE }
            }
            SHIFT = (X[n] - LEFT) / (RIGHT - LEFT) + (pass ? -0.012 : 0.012)
            if (pass) {
                set label 10 + n NAME[n] at graph SHIFT, graph AT[n] right textcolor rgb colour(OWNER[n]) font ',11' front boxed
            } else {
                set label 10 + n NAME[n] at graph SHIFT, graph AT[n] left textcolor rgb colour(OWNER[n]) font ',11' front boxed
            }
            if (abs(AT[n] - share(Y[n])) > 0.04) {
                set arrow 10 + n from X[n], Y[n] to graph SHIFT, graph AT[n] nohead linecolor rgb colour(OWNER[n]) linewidth 0.5
            }
        }
    } }

    HEADLINE = (PANELS > 1 ? '' : EXPERIMENT . ': ') . SUBJECT[FROM[p]]
    set title fitted(HEADLINE, ONE - 90) font (PIXELS ? title_font(HEADLINE, ONE - 90) : ',16')
    set ylabel METRIC . (FIRST[9] eq '' ? '' : ' (' . FIRST[9] . ')') . (LOG ? ', log scale' : '')
    if (p == PANELS) { set label 1 FIRST[8] at screen 0.985, screen 12.0 / HEIGHT right font ',11' textcolor '#606060' }
    FRONT = POINTS[p]
    plot for [i = FRONT + 1:TO[p]] DATA index i - 1 skip 1 using 2:3 with steps linecolor rgb grey(i - FRONT) linewidth 1.5 \
             title NAME_OF[i], \
         for [i = FROM[p]:LINES[p]] DATA index i - 1 skip 1 using (LEFT):3:(RIGHT - LEFT):(0) with vectors nohead linecolor '#000000' \
             dashtype 2 notitle, \
         for [i = FROM[p]:LINES[p]] DATA index i - 1 skip 1 using (RIGHT):3:12 with labels boxed right offset -0.5, -0.6 \
             textcolor '#000000' font ',12' notitle, \
         for [i = LINES[p] + 1:FRONT] DATA index i - 1 skip 1 using 2:3:4:5 with yerrorbars linecolor rgb colour(STYLE_OF[i] + 1) \
             pointtype shape(STYLE_OF[i] + 1) pointsize 0.9 linewidth 1.2 title NAME_OF[i]
}
if (PANELS > 1) { unset multiplot }
