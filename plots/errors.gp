# Small multiples of histograms on one scale, with the normal density of the same mean and root mean square: what is narrower is better,
# and what does not lie about 0 is biased.
EACH = PIXELS ? 195 : 270
ACROSS = fit(N < 2 ? 1 : N < 4 ? N : 4, 70, EACH)
DOWN = int(ceil(1.0 * N / ACROSS))
if (PIXELS) { EACH = (PIXELS - 70.0) / ACROSS }
WIDTH = PIXELS ? PIXELS : ACROSS < 2 ? 600 : 70 + EACH * ACROSS
# In columns of a paper names are broken.
LONGEST = 1
do for [i = 1:N] { LONGEST = strlen(SERIES[i]) > LONGEST ? strlen(SERIES[i]) : LONGEST }
MORE = PIXELS ? 17 * int(LONGEST / ((EACH - 35) / 5.6)) : 0
HEIGHT = 150 + MORE + (210 + MORE) * DOWN
load STYLE

array RMS[N]; array MEAN[N]
do for [i = 1:N] { stats DATA index i - 1 skip 1 using (RMS[i] = $4, MEAN[i] = $5, $3) nooutput }
WIDEST = real(FIRST[8]) < 0.5 ? 0.5 : real(FIRST[8])
set xrange [-WIDEST:WIDEST]
set yrange [0:1.08 * real(FIRST[7])]
set xtics step(2 * WIDEST, 4) font ',11'
set ytics step(1.08 * real(FIRST[7]), 4) font ',11'
unset key
set samples 300
set style fill solid 0.8 noborder
set label 1 'line: normal density of the same mean and spread' at screen 0.985, screen 12.0 / HEIGHT right font ',11' textcolor '#606060'
set multiplot layout DOWN, ACROSS title EXPERIMENT . ': errors of inner products' . (FIRST[6] eq '' ? '' : ', ' . FIRST[6]) font HEADING \
    margins 75.0 / WIDTH, 1 - 20.0 / WIDTH, 80.0 / HEIGHT, 1 - (70.0 + MORE) / HEIGHT spacing 55.0 / WIDTH, (75.0 + MORE) / HEIGHT
do for [i = 1:N] {
    if (i == 2) { unset label 1 }        # once is enough
    set title (PIXELS ? wrap(SERIES[i], letters(EACH - 35, 10)) : SERIES[i]) . \
        sprintf("\n%.3f ± %.3f", MEAN[i], RMS[i]) font (PIXELS ? ',10' : ',11') offset 0, -0.6
    if (i > N - ACROSS) { set xlabel '<y, x^ - x> √d / |x||y|' offset 0, 0.5 font ',11' } else { unset xlabel }
    if ((i - 1) % ACROSS == 0) { set ylabel 'density' offset nearer(PIXELS ? 1.7 : 0.5), 0 font ',11' } else { unset ylabel }
    SD = sqrt(RMS[i] ** 2 - MEAN[i] ** 2)
    plot DATA index i - 1 skip 1 using 2:3:(0.1) with boxes linecolor rgb colour(1), \
         SD > 0 ? exp(-0.5 * ((x - MEAN[i]) / SD) ** 2) / (SD * sqrt(2 * pi)) : NaN with lines linecolor '#000000' dashtype 2
}
unset multiplot
