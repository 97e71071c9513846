# Bars by layer, one for each head and side of it, a panel for each number of bits; scales differ between panels. Where the largest bar
# would leave nothing of the smallest, the scale is logarithmic. Panels of different models have different layers and heads.
SLOTS = int(FIRST[13])
WIDTH = SLOTS < 100 ? 960 : SLOTS < 230 ? 160 + 8 * SLOTS : 2000
HEIGHT = 110 + 250 * N
load STYLE

# stats looks at the ranges of the axes: it comes before they are set.
array LEAST[N]; array MOST[N]; array TOP[N]; array RATIO[N]; array NAMES[N]; array LAYERS[N]; array BARS[N]
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using (RATIO[i] = strcol(9), NAMES[i] = strcol(8), LAYERS[i] = int($12), BARS[i] = int($7), $3) \
        name 'V' nooutput
    stats DATA index i - 1 skip 1 using 5 name 'H' nooutput
    LEAST[i] = V_min; MOST[i] = V_max; TOP[i] = H_max
}

unset key
set grid noxtics ytics
set style fill solid 0.85 border linecolor '#404040'
set errorbars 0
set ylabel FIRST[11]
set label 1 'lines: 95 % interval over windows of text' at screen 0.985, screen 8.0 / HEIGHT right font ',11' textcolor '#606060'

# Margins in pixels: titles and tics do not grow with the picture.
set multiplot layout N, 1 title (FIRST[10] eq '' ? EXPERIMENT : FIRST[10]) . ': each group alone' font HEADING \
    margins 95.0 / WIDTH, 1 - 20.0 / WIDTH, 65.0 / HEIGHT, 1 - 80.0 / HEIGHT spacing 0, 75.0 / HEIGHT
do for [i = 1:N] {
    SLOT = 0.84 / BARS[i]
    set xrange [-0.6:LAYERS[i] - 0.4]
    set xtics step(LAYERS[i], LAYERS[i] > 12 ? 15 : LAYERS[i]) scale 0
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
    }
    set title SERIES[i] . '   ' . RATIO[i] font ',12' offset 0, -0.5
    if (i == N) { set xlabel 'layer' offset 0, 0.4 } else { unset xlabel }
    unset key
    if (BARS[i] > 1 && (i == 1 || NAMES[i] ne NAMES[i > 1 ? i - 1 : 1])) {
        set key at graph 1, graph 1.2 right top horizontal noopaque samplen 1 font ',11'
    }
    plot for [b = 1:BARS[i]] DATA index i - 1 skip 1 \
             using ($6 == b - 1 ? $2 - 0.42 + (b - 0.5) * SLOT : NaN):3:($4 > FLOOR ? $4 : FLOOR):5:(0.9 * SLOT) \
             with boxerrorbars linecolor rgb colour(b) title (BARS[i] > 1 ? word(NAMES[i], b) : '')
}
unset multiplot
