# Points with error bars, one colour and shape per quantizer; the reference as a line across; the front as steps; a panel for each
# model and text. Names stand before points of the front and behind the others, where the steps leave room, and make way for each other.
# In columns of a paper the key stands below and a name is what it does not say; where points are many those of the front alone have
# numbers, and their names stand below.

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
ONE = PIXELS ? PIXELS / ACROSS : MOST > 10 ? 1280 : PANELS > 1 ? 800 : 960       # pixels across of one panel: a long key stands beside
WIDTH = ACROSS * ONE

# What is below the panels in columns of a paper: a key of FRONTS fronts and STYLES quantizers, and lists of up to LISTED names.
FRONTS = 0; STYLES = 0; LONGEST_KEY = 8; LISTED = 0; CROWDED = 0
do for [p = 1:PANELS] {
    ON_FRONTS = 0; POINTS_OF = 0
    do for [i = LINES[p] + 1:TO[p]] {
        LONGEST_KEY = strlen(NAME_OF[i]) > LONGEST_KEY ? strlen(NAME_OF[i]) : LONGEST_KEY
        if (PLACE[i] == 3) { FRONTS = STYLE_OF[i] > FRONTS ? STYLE_OF[i] : FRONTS } else {
            STYLES = STYLE_OF[i] > STYLES ? STYLE_OF[i] : STYLES
            stats DATA index i - 1 skip 1 using 10 name 'F' nooutput
            ON_FRONTS = ON_FRONTS + F_sum; POINTS_OF = POINTS_OF + F_records
        }
    }
    LISTED = ON_FRONTS > LISTED ? int(ON_FRONTS) : LISTED
    CROWDED = CROWDED || POINTS_OF > (ONE < 700 ? 12 : 24)
}
LIST_COLUMNS = ONE > 700 ? 2 : 1
LIST = PIXELS && CROWDED ? 16.0 * int(ceil(1.0 * LISTED / LIST_COLUMNS)) + 8 : 0
PLOT = 300.0                                           # a panel's own height there
HEAD = PANELS > 1 ? 85.0 : 60.0
ROW = PLOT + 110 + LIST
KEY_COLUMNS = fit(FRONTS + STYLES, 0, 6.2 * LONGEST_KEY + 45)
KEY_ROWS = int(ceil(1.0 * (FRONTS + STYLES) / KEY_COLUMNS))
BELOW = 70.0 + LIST + 19 * KEY_ROWS + 20
HEIGHT = PIXELS ? HEAD + ROW * DOWN - 110 - LIST + BELOW : PANELS > 1 ? 40 + 600 * DOWN : 640
load STYLE

# Of a name, as a share of a panel's plot.
LETTER = PIXELS ? 6.2 / (ONE - 110) : 0.0085 * 960 / (MOST > 10 ? 960 : ONE)
LINE = PIXELS ? 0.042 : 0.03
grey(k) = k == 1 ? '#909090' : k == 2 ? '#c0c0c0' : '#606060'
set xlabel COLUMNS[2]
set bmargin 5
SIGN = FIRST[14] eq '1' ? 1 : -1
if (SIGN > 0) { set key bottom right }
if (MOST > 10) { set key outside right top font ',11' }
if (PANELS > 1 && !PIXELS) { set multiplot layout DOWN, ACROSS title EXPERIMENT . ': ' . METRIC font ',16' }
if (PIXELS) {
    unset key
    do for [i = 1:N] {
        if (PLACE[i] == 3) { eval key_line(STYLE_OF[i], KEY_COLUMNS, KEY_ROWS, 'NAME_OF[i]', 1.5, 1, grey(STYLE_OF[i])) }
        if (PLACE[i] == 2) {
            eval key_entry(FRONTS + STYLE_OF[i], KEY_COLUMNS, KEY_ROWS, 'NAME_OF[i]', shape(STYLE_OF[i] + 1), colour(STYLE_OF[i] + 1))
        }
    }
    HEADLINE = EXPERIMENT . ': ' . (PANELS > 1 ? METRIC : SUBJECT[1])
    set multiplot layout DOWN, ACROSS title fitted(HEADLINE, WIDTH - 20) font title_font(HEADLINE, WIDTH - 20) \
        margins 85.0 / WIDTH, 1 - 20.0 / WIDTH, BELOW / HEIGHT, 1 - HEAD / HEIGHT spacing 105.0 / WIDTH, (110 + LIST) / HEIGHT
}
# Where the list below a panel begins, in pixels from the left and the top.
list_x(p, k) = ((p - 1) % ACROSS) * ONE + 25.0 + (k - 1) % LIST_COLUMNS * 0.5 * ONE
list_y(p, k) = HEAD + ((p - 1) / ACROSS) * ROW + PLOT + 58 + 16 * (1 + (k - 1) / LIST_COLUMNS)
TAG = PIXELS ? 2000 : 10                               # of labels and arrows of names

do for [p = 1:PANELS] {
    if (!PIXELS || p > 1) { unset label; unset arrow }         # in columns of a paper the key is among them
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
        do for [i = LINES[p] + 1:POINTS[p]] {
            stats DATA index i - 1 skip 1 using (NAME[int($15)] = LIST == 0 ? strcol(19) : $10 == 1 ? strcol(6) : '', 0) nooutput
        }
        K = 0
        do for [k = 1:NAMES] { if (LIST > 0 && NAME[k] ne '') {
            K = K + 1
            set label 1000 + K sprintf('%d  %s', K, NAME[k]) at screen list_x(p, K) / WIDTH, screen 1 - list_y(p, K) / HEIGHT left \
                font ',10' textcolor rgb colour(OWNER[k])
            NAME[k] = sprintf('%d', K)
        } }
        do for [k = 1:NAMES] { LETTERS[k] = strlen(NAME[k]) }
        # Names need room where their points are: before those of the front, behind the others.
        do for [pass = 1:30] {
            REACH = RIGHT - LEFT
            LEFT = XMIN - 0.04 * REACH; RIGHT = XMAX + 0.04 * REACH
            do for [k = 1:NAMES] { if (LETTERS[k]) {
                NEED = (LETTER * LETTERS[k] + 0.03 < 0.55 ? LETTER * LETTERS[k] + 0.03 : 0.55) * REACH
                if (ON_FRONT[k] == 1 && X[k] - NEED < LEFT) { LEFT = X[k] - NEED }
                if (ON_FRONT[k] == 0 && X[k] + NEED > RIGHT) { RIGHT = X[k] + NEED }
            } }
        }
    }
    # stats looks at the ranges of the axes: it comes before they are set.
    UNDER = LIST > 0 && SIGN < 0 ? 0.3 : 0.1; OVER = LIST > 0 && SIGN > 0 ? 0.3 : 0.15           # numbers by the front make way
    set xrange [LEFT:RIGHT]
    if (LEFT < 0) { set xtics 0, step(RIGHT - LEFT, 8) } else { set xtics autofreq }    # room for names is no bits
    if (LOG) {
        set logscale y
        set yrange [YMIN * FACTOR ** -UNDER : YMAX * FACTOR ** OVER]
        # Within a decade gnuplot would label one tic: name round values instead.
        if (FACTOR < 20) {
            STEP = step(ROOM, 6)
            unset ytics
            set for [k = ceil(0.7 * YMIN / STEP):floor(1.4 * YMAX / STEP)] ytics add (sprintf('%g', k * STEP) k * STEP)
            set ytics nomirror out textcolor '#202020'
        }
    } else {
        set yrange [YMIN - UNDER * ROOM : YMAX + OVER * ROOM]
    }
    BOTTOM = LOG ? log(YMIN) - UNDER * log(FACTOR) : YMIN - UNDER * ROOM
    TALL = (1 + UNDER + OVER) * (LOG ? log(FACTOR) : ROOM)
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
                set label TAG + n NAME[n] at graph SHIFT, graph AT[n] right textcolor rgb colour(OWNER[n]) font ',11' front @BOXED
            } else {
                set label TAG + n NAME[n] at graph SHIFT, graph AT[n] left textcolor rgb colour(OWNER[n]) font ',11' front @BOXED
            }
            if (abs(AT[n] - share(Y[n])) > 0.04) {
                set arrow TAG + n from X[n], Y[n] to graph SHIFT, graph AT[n] nohead linecolor rgb colour(OWNER[n]) linewidth 0.5
            }
        }
    } }

    set title (PANELS > 1 ? '' : EXPERIMENT . ': ') . SUBJECT[FROM[p]]
    set ylabel METRIC . (FIRST[9] eq '' ? '' : ' (' . FIRST[9] . ')') . (LOG ? ', log scale' : '')
    if (PIXELS) {
        if (PANELS > 1) { set title fitted(SUBJECT[FROM[p]], ONE - 70) font ',11' offset 0, -0.3 } else { unset title }
        set xlabel offset 0, 0.3
        set ylabel offset nearer(1), 0
    }
    if (p == PANELS) { set label 1 FIRST[8] at screen 0.985, screen 12.0 / HEIGHT right font ',11' textcolor '#606060' }
    FRONT = POINTS[p]
    plot for [i = FRONT + 1:TO[p]] DATA index i - 1 skip 1 using 2:3 with steps \
             linecolor rgb grey(PIXELS ? STYLE_OF[i] : i - FRONT) linewidth 1.5 title NAME_OF[i], \
         for [i = FROM[p]:LINES[p]] DATA index i - 1 skip 1 using (LEFT):3:(RIGHT - LEFT):(0) with vectors nohead linecolor '#000000' \
             dashtype 2 notitle, \
         for [i = FROM[p]:LINES[p]] DATA index i - 1 skip 1 using (RIGHT):3:12 with labels @BOXED right offset -0.5, -0.6 \
             textcolor '#000000' font ',12' notitle, \
         for [i = LINES[p] + 1:FRONT] DATA index i - 1 skip 1 using 2:3:4:5 with yerrorbars linecolor rgb colour(STYLE_OF[i] + 1) \
             pointtype shape(STYLE_OF[i] + 1) pointsize 0.9 linewidth 1.2 title NAME_OF[i]
}
if (PANELS > 1 || PIXELS) { unset multiplot }
