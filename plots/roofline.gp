# A panel for each shape and number of threads: a point for each cell, its bits beside it, and the roofs as lines: what memory takes
# for the bytes, and what arithmetic takes for the products. Nothing can be below the thick one. One range for all panels.
array PANEL[N]; array STYLE_OF[N]; array NAME_OF[N]; array TITLES[N]; array SLOPE[N]; array FMA[N]; array INT8[N]; array BF16[N]
set datafile separator "\t"
do for [i = 1:N] {
    stats DATA index i - 1 skip 1 using (PANEL[i] = int($6), STYLE_OF[i] = int($13), NAME_OF[i] = strcol(12), TITLES[i] = strcol(7), \
        SLOPE[i] = $8, FMA[i] = $9, INT8[i] = valid(10) ? $10 : 0, BF16[i] = valid(11) ? $11 : 0, 0) nooutput
}
PANELS = int(FIRST[16])
STYLES = int(FIRST[17])
ACROSS = int(FIRST[15])
ONE = PIXELS ? 355 : 430               # pixels across of a panel
ACROSS = fit(ACROSS > 3 ? 3 : PANELS > 1 && ACROSS < 2 ? 2 : ACROSS, 120, ONE)
DOWN = int(ceil(1.0 * PANELS / ACROSS))
if (PIXELS) { ONE = (PIXELS - 120.0) / ACROSS }
# The key stands beside, in columns of a paper below.
KEY = PIXELS ? 0 : 190
KEY_COLUMNS = ACROSS > 1 ? 5 : 3
KEY_ROWS = (STYLES + 5 + KEY_COLUMNS - 1) / KEY_COLUMNS
BELOW = PIXELS ? 19 * KEY_ROWS + 10 : 0
WIDTH = 120 + ONE * ACROSS + KEY
HEIGHT = 145 + 330 * DOWN + BELOW
load STYLE

array FROM[PANELS]; array TO[PANELS]
do for [i = 1:N] {
    if (i == 1 || PANEL[i] != PANEL[i > 1 ? i - 1 : 1]) { FROM[PANEL[i]] = i }
    TO[PANEL[i]] = i
}
# stats looks at the ranges of the axes: it comes before they are set. A roof may lie below all points.
stats DATA skip 1 using 4:3 name 'S' nooutput
YMIN = S_min_x; YMAX = S_max_y
do for [i = 1:N] {
    LOW = SLOPE[i] * real(FIRST[18])
    YMIN = LOW < YMIN ? LOW : YMIN
    YMIN = INT8[i] > 0 && INT8[i] < YMIN ? INT8[i] : YMIN
}
XMIN = real(FIRST[18]) / 1.5; XMAX = real(FIRST[19]) * 1.5
set logscale xy
set xrange [XMIN:XMAX]
set yrange [YMIN / 1.6:YMAX * 1.6]
set format xy '%g'
set xtics (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192) font ',11'
set ytics font ',11'
set samples 200
set errorbars 0
set grid xtics ytics
NOTE = PIXELS && ACROSS < 2 ? 'medians, bars down to the least, beside them bits asked; ' \
                            : 'points: medians, bars down to the least; beside them: bits asked. Depth: '
set label 1 NOTE . FIRST[14] . ' tokens' \
    at screen 0.985, screen 14.0 / HEIGHT right font ',11' textcolor '#606060'
max(a, b) = a > b ? a : b
least(a, b) = b > 0 && b < a ? b : a

if (BELOW) {
    array ROOF[5] = ['roof', 'memory read', 'f32 multiply-adds', 'bf16 products', 'int8 products']
    array DASH[5] = [1, 1, 2, 4, 3]
    do for [k = 1:5] { eval key_line(k, KEY_COLUMNS, KEY_ROWS, 'ROOF[k]', k == 1 ? 3 : 1, DASH[k], k == 1 ? '#000000' : '#606060') }
    do for [i = 1:N] { eval key_entry(5 + STYLE_OF[i], KEY_COLUMNS, KEY_ROWS, 'NAME_OF[i]', shape(STYLE_OF[i]), colour(STYLE_OF[i])) }
}

HEADLINE = EXPERIMENT . ': decode attention and its roofs'
set multiplot layout DOWN, ACROSS title HEADLINE font (PIXELS ? title_font(HEADLINE, WIDTH - 20) : ',16') \
    margins 95.0 / WIDTH, 1 - (KEY + 20.0) / WIDTH, (100.0 + BELOW) / HEIGHT, 1 - 75.0 / HEIGHT spacing 80.0 / WIDTH, 85.0 / HEIGHT
do for [p = 1:PANELS] {
    A = SLOPE[FROM[p]]
    F = FMA[FROM[p]]; I = INT8[FROM[p]]; B = BF16[FROM[p]]
    LEAST = least(least(F, B), I)
    set title TITLES[FROM[p]] font ',13' offset 0, -0.5
    if (p > PANELS - ACROSS) { set xlabel COLUMNS[2] font ',12' } else { unset xlabel }
    if ((p - 1) % ACROSS == 0) { set ylabel 'ns per key-value pair, log scale' offset nearer(0), 0 font ',12' } else { unset ylabel }
    unset key
    if (p == 1 && !BELOW) {
        set key at screen 1 - (KEY + 5.0) / WIDTH, screen 1 - 60.0 / HEIGHT left top vertical Left reverse noopaque samplen 1.5 font ',11'
    }
    plot max(A * x, LEAST) with lines linecolor '#000000' linewidth 3 title 'roof', \
         A * x with lines linecolor '#606060' linewidth 1 title 'memory read', \
         F with lines linecolor '#606060' dashtype 2 title 'f32 multiply-adds', \
         (B > 0 ? B : NaN) with lines linecolor '#606060' dashtype 4 title (B > 0 ? 'bf16 products' : ''), \
         (I > 0 ? I : NaN) with lines linecolor '#606060' dashtype 3 title (I > 0 ? 'int8 products' : ''), \
         for [i = FROM[p]:TO[p]] DATA index i - 1 skip 1 using 2:3:4:3 with yerrorbars linecolor rgb colour(STYLE_OF[i]) \
             pointtype shape(STYLE_OF[i]) pointsize 0.9 linewidth 1 title NAME_OF[i], \
         for [i = FROM[p]:TO[p]] DATA index i - 1 skip 1 using 2:3:5 with labels offset 0.9, 0.4 left font (PIXELS ? ',10' : ',9') \
             textcolor '#404040' notitle
    unset label
    unset arrow
}
unset multiplot
