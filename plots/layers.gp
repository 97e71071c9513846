# A map of layer by KV head per quantizer, dark where the value is large. Each panel has a logarithmic scale of its own, whose ends stand
# in its title (half as much again at least): what is to be seen is where a quantizer is bad, and not how bad one is beside another.
LAYERS = int(FIRST[9])
HEADS = int(FIRST[10])
MAP = 16 * LAYERS < 340 ? 340 : 16 * LAYERS > 800 ? 800 : 16 * LAYERS         # pixels across
ACROSS = fit(N < 2 ? 1 : 2, 30, 60 + (PIXELS ? 340 : MAP))
if (PIXELS) { MAP = (PIXELS - 90 - 60 * (ACROSS - 1)) / ACROSS }
DOWN = int(ceil(1.0 * N / ACROSS))
TALL = 22 * HEADS < 60 ? 60 : 22 * HEADS > 400 ? 400 : 22 * HEADS
# In columns of a paper long names have a line of their own.
LONGEST = 1
do for [i = 1:N] { LONGEST = strlen(SERIES[i]) > LONGEST ? strlen(SERIES[i]) : LONGEST }
MORE = PIXELS && 6.2 * (LONGEST + 25) > MAP + 50 ? 15 : 0
WIDTH = PIXELS ? PIXELS : 90 + ACROSS * MAP + 60 * (ACROSS - 1)
HEIGHT = 140 + MORE + DOWN * TALL + (DOWN - 1) * (85 + MORE)
load STYLE

array LEAST[N]; array MOST[N]
do for [i = 1:N] { stats DATA index i - 1 skip 1 using (LEAST[i] = $7, MOST[i] = $8, $4) nooutput }
set palette defined (0 '#fee838', 0.25 '#bcae6c', 0.5 '#7d7c78', 0.75 '#3b496c', 1 '#00224e')
set cbrange [0:1]
unset colorbox
unset key
unset grid
set border 0
set tics scale 0 font ',11'
set xrange [-0.5:LAYERS - 0.5]
set yrange [-0.5:HEADS - 0.5]
set xtics LAYERS > 12 ? step(1.0 * LAYERS, 10) : 1
set ytics HEADS > 8 ? step(1.0 * HEADS, 8) : 1
set label 1 'dark: large, by the logarithm, from the least to the most of each panel' at screen 0.985, screen 12.0 / HEIGHT right font ',11' \
    textcolor '#606060'
set multiplot layout DOWN, ACROSS title EXPERIMENT . ': ' . METRIC . (FIRST[6] eq '' ? '' : ' (' . FIRST[6] . ')') . \
    (FIRST[5] eq '' ? '' : ', ' . FIRST[5]) font HEADING \
    margins 70.0 / WIDTH, 1 - 20.0 / WIDTH, 75.0 / HEIGHT, 1 - (65.0 + MORE) / HEIGHT spacing 60.0 / WIDTH, (85.0 + MORE) / HEIGHT
set xlabel 'layer' offset 0, 0.5 font ',12'
set ylabel 'KV head' offset nearer(1), 0 font ',12'
do for [i = 1:N] {
    if (i == 2) { unset label 1 }        # once is enough
    set title SERIES[i] . (MORE ? "\n" : '   ') . sprintf('%.3g to %.3g', LEAST[i], MOST[i]) font (PIXELS ? ',11' : ',12') offset 0, -0.6
    SPAN = log(MOST[i] > 1.5 * LEAST[i] ? MOST[i] / LEAST[i] : 1.5)        # so that noise does not look like a pattern
    plot DATA index i - 1 skip 1 using 2:3:($2 - 0.47):($2 + 0.47):($3 - 0.45):($3 + 0.45):(log($4 / LEAST[i]) / SPAN) with boxxyerror \
             fillstyle solid noborder fillcolor palette
}
unset multiplot
