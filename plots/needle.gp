# Small multiples: one map of depth by length per label, dark where needles were missed, the counts written into the cells; then, below
# their maps, the differences to the reference, blue where more was found and orange where less.
# Models and settings begin rows of their own where these are alike and not too long.
set datafile separator "\t"
array IS_DIFFERENCE[N]
do for [i = 1:N] { stats DATA index i - 1 skip 1 using (IS_DIFFERENCE[i] = int($12), $12) nooutput }
MAPS = 0
do for [i = 1:N] { MAPS = MAPS + !IS_DIFFERENCE[i] }
LABELS = int(FIRST[10])
stats DATA skip 1 using 2 name 'C' nooutput
stats DATA skip 1 using 3 name 'R' nooutput
EACH = PIXELS ? (75 + 25 * C_max > 380 ? 380 : 75 + 25 * C_max > 190 ? 75 + 25 * C_max : 190) : 260
COLUMNS_OF_PANELS = fit(int(FIRST[11]) > 1 && MAPS == LABELS * int(FIRST[11]) && LABELS < 7 ? LABELS : MAPS < 4 ? MAPS : 4, 80, EACH)
if (PIXELS) { EACH = (PIXELS - 80.0) / COLUMNS_OF_PANELS }
# Slots from 1, row by row: differences begin a row, under the reference's map there is none, and so do the maps behind them.
array SLOT[N]
LAST = 0
do for [i = 1:N] {
    if (i > 1) { if (IS_DIFFERENCE[i] != IS_DIFFERENCE[i - 1]) {
        LAST = COLUMNS_OF_PANELS * int(ceil(1.0 * LAST / COLUMNS_OF_PANELS)) + (IS_DIFFERENCE[i] && COLUMNS_OF_PANELS > 1)
    } }
    LAST = LAST + 1
    SLOT[i] = LAST
}
ROWS_OF_PANELS = int(ceil(1.0 * LAST / COLUMNS_OF_PANELS))
WIDTH = PIXELS ? PIXELS : COLUMNS_OF_PANELS < 2 ? 600 : 80 + EACH * COLUMNS_OF_PANELS
# In columns of a paper names are broken.
LONGEST = 1
do for [i = 1:N] { LONGEST = strlen(SERIES[i]) > LONGEST ? strlen(SERIES[i]) : LONGEST }
MORE = PIXELS ? 17 * int(LONGEST / ((EACH - 25) / 5.6)) : 0
HEIGHT = 120 + MORE + (240 + MORE) * ROWS_OF_PANELS
load STYLE

# Lightness rises evenly with the share found: it reads in grey, and colour-blind. Of differences the sign is written in the cells too.
SHARES = "set palette defined (0 '#00224e', 0.25 '#3b496c', 0.5 '#7d7c78', 0.75 '#bcae6c', 1 '#fee838'); set cbrange [0:1]"
CHANGES = "set palette defined (-1 '#a84300', -0.5 '#e8a06a', 0 '#f4f4f4', 0.5 '#7fb2d6', 1 '#00507d'); set cbrange [-1:1]"
# On what is dark, white is read better.
is_dark(i, value) = IS_DIFFERENCE[i] ? abs(value) > 0.7 : value < 0.6
unset colorbox
unset key
unset grid
set border 0
set tics scale 0
set xrange [0.5:C_max + 0.5]
set yrange [R_max + 0.5:0.5]
SMALL = PIXELS ? ',10' : C_max > 5 || R_max > 6 ? ',8' : ',12'

# Margins in pixels: titles and tics do not grow with the picture.
set multiplot layout ROWS_OF_PANELS, COLUMNS_OF_PANELS \
    title EXPERIMENT . ': needles found' . (FIRST[9] eq '' ? '' : ', ') . FIRST[9] font HEADING \
    margins 75.0 / WIDTH, 1 - 20.0 / WIDTH, 65.0 / HEIGHT, 1 - (85.0 + MORE) / HEIGHT spacing 75.0 / WIDTH, (100.0 + MORE) / HEIGHT
set xlabel 'length, tokens' offset 0, 0.4 font ',11'
set ylabel 'depth' offset nearer(1), 0 font ',11'
set tics font ',11'
LAST = 0
do for [i = 1:N] {
    do for [slot = LAST + 2:SLOT[i]] { set multiplot next }
    LAST = SLOT[i]
    eval IS_DIFFERENCE[i] ? CHANGES : SHARES
    stats DATA index i - 1 skip 1 using (HEAD = strcol(8), $6) nooutput
    set title (PIXELS ? wrap(SERIES[i], letters(EACH - 25, 10)) : SERIES[i]) . "\n" . HEAD font (PIXELS ? ',10' : ',12') offset 0, -0.5
    plot DATA index i - 1 skip 1 using 2:3:($2 - 0.48):($2 + 0.48):($3 - 0.47):($3 + 0.47):6:xtic(4):ytic(5) with boxxyerror \
             fillstyle solid noborder fillcolor palette, \
         DATA index i - 1 skip 1 using 2:3:(is_dark(i, $6) ? strcol(7) : '') with labels font SMALL textcolor '#ffffff', \
         DATA index i - 1 skip 1 using 2:3:(is_dark(i, $6) ? '' : strcol(7)) with labels font SMALL textcolor '#000000'
}
unset multiplot
