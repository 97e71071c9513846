# Bars by layer, one for each head and side of it, a panel for each number of bits; scales differ between panels. Where the largest bar
# would leave nothing of the smallest, the scale is logarithmic. Panels of different models have different layers and heads. In columns
# of a paper the layers of a panel go on in further rows where bars would be too thin, and the bars' names stand below all.
SLOTS = int(FIRST[13])
PLOT = PIXELS - 115.0                                       # pixels across of a row in columns of a paper
FOLDS = PIXELS && SLOTS * 3 > PLOT ? int(ceil(SLOTS * 3 / PLOT)) : 1
WIDTH = PIXELS ? PIXELS : SLOTS < 100 ? 960 : SLOTS < 230 ? 160 + 8 * SLOTS : 2000

set datafile separator "\t"
# stats looks at the ranges of the axes: it comes before they are set.
array LEAST[N]; array MOST[N]; array TOP[N]; array RATIO[N]; array NAMES[N]; array LAYERS[N]; array BARS[N]
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using (RATIO[i] = strcol(9), NAMES[i] = strcol(8), LAYERS[i] = int($12), BARS[i] = int($7), $3) \
        name 'V' nooutput
    stats DATA index i - 1 skip 1 using 5 name 'H' nooutput
    LEAST[i] = V_min; MOST[i] = V_max; TOP[i] = H_max
}
# The names of bars that a panel does not share with the one before: all of them, in columns of a paper one after the other.
is_new(i) = BARS[i] > 1 && (i == 1 || NAMES[i] ne NAMES[i > 1 ? i - 1 : 1])
KEYS = 0
do for [i = 1:N] { if (is_new(i)) { KEYS = KEYS + BARS[i] } }
KEY_COLUMNS = PIXELS && PIXELS < 700 ? 3 : 6
KEY_ROWS = (KEYS + KEY_COLUMNS - 1) / KEY_COLUMNS
BELOW = PIXELS && KEYS ? 19 * KEY_ROWS + 10 : 0
TALL = PIXELS ? FOLDS > 1 ? 130 : 160 : 250                  # pixels of a row, PIXELS: of its plot
GAP = PIXELS ? 70 : 75
HEIGHT = PIXELS ? 85 + (TALL + GAP) * N * FOLDS - GAP + 70 + BELOW : 110 + 250 * N
load STYLE

unset key
set grid noxtics ytics
set style fill solid 0.85 border linecolor '#404040'
if (PIXELS && SLOTS / FOLDS * 4 > PLOT) { set style fill solid 1 noborder }      # bars of few pixels would be all border
set errorbars 0
set ylabel FIRST[11] offset nearer(0), 0
if (PIXELS) { set ylabel font ',11'; set tics font ',11' }
set label 1 (BELOW ? 'bars: in the order of the key; ' : '') . 'lines: 95 % interval over windows of text' \
    at screen 0.985, screen 8.0 / HEIGHT right font ',11' textcolor '#606060'
if (BELOW) {
    K = 0
    do for [i = 1:N] { if (is_new(i)) { do for [b = 1:BARS[i]] {
        K = K + 1
        eval key_entry(K, KEY_COLUMNS, KEY_ROWS, 'word(NAMES[i], b)', 5, colour(b))
    } } }
}

# Margins in pixels: titles and tics do not grow with the picture.
HEADLINE = (FIRST[10] eq '' ? EXPERIMENT : FIRST[10]) . ': each group alone'
set multiplot layout N * FOLDS, 1 title HEADLINE font (PIXELS ? title_font(HEADLINE, WIDTH - 20) : HEADING) \
    margins 95.0 / WIDTH, 1 - 20.0 / WIDTH, (PIXELS ? 70.0 + BELOW : 65.0) / HEIGHT, 1 - (PIXELS ? 85.0 : 80.0) / HEIGHT \
    spacing 0, GAP * 1.0 / HEIGHT
do for [i = 1:N] {
    SLOT = 0.84 / BARS[i]
    PER = int(ceil(1.0 * LAYERS[i] / FOLDS))                # layers in a row
    if (LEAST[i] > 0 && MOST[i] / LEAST[i] > 100) {
        set logscale y
        set format y '%.0e'
        FLOOR = LEAST[i] / 2
        set yrange [FLOOR:TOP[i] * 1.5]
    } else {
        unset logscale y
        set format y '%g'
        FLOOR = LEAST[i] < 0 ? 1.1 * LEAST[i] : 0
        set yrange [FLOOR:1.08 * (TOP[i] < 2 * MOST[i] ? TOP[i] : 2 * MOST[i])]     # long intervals leave it
        if (PIXELS) { set ytics step(1.08 * MOST[i] - FLOOR, 5) }
    }
    do for [f = 0:FOLDS - 1] {
        set xrange [f * PER - 0.6:(f + 1) * PER - 0.4]
        set xtics step(PER, PER > 12 ? 15 : PER) scale 0
        if (f == 0) {
            set title SERIES[i] . (PIXELS && strlen(SERIES[i] . RATIO[i]) + 3 > letters(PLOT + 30, 11) ? "\n" : '   ') . RATIO[i] \
                font (PIXELS ? ',11' : ',12') offset 0, -0.5
        } else { unset title }
        if (i == N && f == FOLDS - 1) { set xlabel 'layer' offset 0, 0.4 } else { unset xlabel }
        unset key
        if (!PIXELS && is_new(i)) { set key at graph 1, graph 1.2 right top horizontal noopaque samplen 1 font ',11' }
        plot for [b = 1:BARS[i]] DATA index i - 1 skip 1 \
                 using ($6 == b - 1 ? $2 - 0.42 + (b - 0.5) * SLOT : NaN):3:($4 > FLOOR ? $4 : FLOOR):5:(0.9 * SLOT) \
                 with boxerrorbars linecolor rgb colour(b) title (BARS[i] > 1 ? word(NAMES[i], b) : '')
        if (PIXELS) { unset label }                         # once is enough
    }
}
unset multiplot
