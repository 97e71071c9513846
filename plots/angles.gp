# Small multiples, a row for each cell and a column for each level: shares of angles as boxes, the analytic density as a line. Boxes
# that leave the line are what the codebook of that level was not solved for.
EACH = PIXELS ? 195 : 270
ACROSS = fit(int(FIRST[9]), 70, EACH)
DOWN = int(ceil(1.0 * N / ACROSS))
if (PIXELS) { EACH = (PIXELS - 70.0) / ACROSS }
WIDTH = PIXELS ? PIXELS : ACROSS < 2 ? 600 : 70 + EACH * ACROSS
# In columns of a paper names are broken.
LONGEST = 1
do for [i = 1:N] { LONGEST = strlen(SERIES[i]) > LONGEST ? strlen(SERIES[i]) : LONGEST }
MORE = PIXELS ? 17 * int(LONGEST / ((EACH - 35) / 5.6)) : 0
HEIGHT = 150 + MORE + (210 + MORE) * DOWN
load STYLE

array LEVEL[N]; array KS[N]; array CHI[N]; array MOST[N]
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using (LEVEL[i] = int($5), KS[i] = $6, CHI[i] = $7, $3) name 'V' nooutput
    MOST[i] = V_max
}
# Of level l > 1: Gamma(k) / (2^(k-2) Gamma(k/2)^2) sin(2 psi)^(k-1), k = 2^(l-1).
k(l) = 2.0 ** (l - 1)
density(l, x) = l < 2 ? 0.5 / pi : gamma(k(l)) / (2 ** (k(l) - 2) * gamma(k(l) / 2) ** 2) * sin(2 * x) ** (k(l) - 1)
peak(l) = density(l, pi / 4)
unset key
set samples 300
set style fill solid 0.8 noborder
set label 1 'line: analytic density' at screen 0.985, screen 12.0 / HEIGHT right font ',11' textcolor '#606060'
set multiplot layout DOWN, ACROSS title EXPERIMENT . ': angles by level' . (FIRST[8] eq '' ? '' : ', ' . FIRST[8]) font HEADING \
    margins 75.0 / WIDTH, 1 - 20.0 / WIDTH, 80.0 / HEIGHT, 1 - (75.0 + MORE) / HEIGHT spacing 60.0 / WIDTH, (85.0 + MORE) / HEIGHT
do for [i = 1:N] {
    if (i == 2) { unset label 1 }        # once is enough
    set title (PIXELS ? wrap(SERIES[i], letters(EACH - 35, 10)) : SERIES[i]) . \
        sprintf("\nKS %.4f, χ²/dof %.3g", KS[i], CHI[i]) font (PIXELS ? ',10' : ',11') offset 0, -0.6
    RANGE = LEVEL[i] < 2 ? 2 * pi : pi / 2
    TOP = 1.12 * (MOST[i] > peak(LEVEL[i]) ? MOST[i] : peak(LEVEL[i]))
    set xrange [0:RANGE]
    set yrange [0:TOP]
    if (LEVEL[i] < 2) { set xtics ('0' 0, 'π' pi, '2π' 2 * pi) font ',11' }
    if (LEVEL[i] > 1) { set xtics ('0' 0, 'π/4' pi / 4, 'π/2' pi / 2) font ',11' }
    set ytics step(TOP, 4) font ',11'
    if (i > N - ACROSS) { set xlabel 'angle, radians' offset 0, 0.5 font ',11' } else { unset xlabel }
    if ((i - 1) % ACROSS == 0) { set ylabel 'density' offset nearer(PIXELS ? 1.7 : 0.5), 0 font ',11' } else { unset ylabel }
    plot DATA index i - 1 skip 1 using 2:3:4 with boxes linecolor rgb colour(1), \
         density(LEVEL[i], x) with lines linecolor '#000000' linewidth 1.5
}
unset multiplot
