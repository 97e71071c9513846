# Bars from top to bottom in the order of the spec, with the figure and how many times better than the first bar at each end. In columns
# of a paper that have no room for names beside the bars these stand above them.
ROWS = int(FIRST[12])
LETTERS = int(FIRST[11])
LEFT = 30 + (LETTERS < 16 ? 16 : LETTERS > 70 ? 70 : LETTERS) * 7.2
RIGHT = PIXELS ? 105 : 130
ABOVE = PIXELS && LEFT + 200 + RIGHT > PIXELS
WIDTH = PIXELS ? PIXELS : LEFT + 480 + RIGHT
if (ABOVE) { LEFT = 25 }
NAME_ROOM = WIDTH - 35
NAME_LINES = ABOVE ? int(ceil(LETTERS * 6.16 / NAME_ROOM)) : 0
NAMES = 15 * NAME_LINES                                     # pixels of them above a bar
TALL = 34 + NAMES
HEAD = PIXELS ? 50 : 60
BELOW = PIXELS ? 95 : 85
HEIGHT = PIXELS ? HEAD + BELOW + TALL * ROWS : 150 + 34 * ROWS
load STYLE

stats DATA skip 1 using 3 name 'V' nooutput
stats DATA skip 1 using 5 name 'H' nooutput
TOP = H_max < 2 * V_max ? H_max : V_max
set xrange [0:1.02 * TOP]
set yrange [ROWS + 0.5:0.5]
unset key
set border 1
set grid xtics noytics
set ytics scale 0
set xtics step(TOP, 6)
set lmargin at screen LEFT * 1.0 / WIDTH
set rmargin at screen 1 - RIGHT * 1.0 / WIDTH
set tmargin at screen 1 - HEAD * 1.0 / HEIGHT
set bmargin at screen BELOW * 1.0 / HEIGHT
set style fill solid 1 noborder
set errorbars 0.5
HEADLINE = EXPERIMENT . (FIRST[9] eq '' ? '' : ': ' . FIRST[9])
set xlabel METRIC . (FIRST[7] eq '' ? '' : ', ' . FIRST[7]) . (FIRST[10] eq '-1' ? ' (less is better)' : \
    FIRST[10] eq '1' ? ' (more is better)' : '')
set label 1 'x: times better than the first; lines: 95 % interval' at screen 0.985, screen 12.0 / HEIGHT right font ',11' textcolor '#606060'
if (PIXELS) {
    set label 2 fitted(HEADLINE, WIDTH - 20) at screen 0.5, screen 1 - 20.0 / HEIGHT center font title_font(HEADLINE, WIDTH - 20)
    set xtics step(TOP, (WIDTH - LEFT - RIGHT) / 60.0) font ',11'
    set ytics font ',11'
} else { set title HEADLINE }
if (ABOVE) { unset ytics }
middle(row) = row + 0.5 * NAMES / TALL                      # of a bar, below its name
HALF = 0.36 * 34 / TALL
BESIDE = ABOVE ? '' : ':ytic(6)'
if (ABOVE) {
    do for [k = 1:ROWS] {
        stats DATA skip 1 using ($2 == k ? (NAME = strcol(6), $3) : NaN) nooutput
        set label 10 + k fitted(NAME, NAME_ROOM) at graph 0, first k - 0.5 + 12.0 / TALL left font ',11'
    }
}
plot DATA index 0 skip 1 using (0.5 * $3):(middle($2)):(0.5 * $3):(HALF):($13 == 1 ? 0x999999 : 0x0072b2)@BESIDE \
         with boxxyerror linecolor rgb variable, \
     DATA index 0 skip 1 using 3:(middle($2)):4:5 with xerrorbars linecolor '#000000' pointtype -1 linewidth 1, \
     DATA index 0 skip 1 using (1.02 * TOP):(middle($2)):8 with labels left offset 0.5, 0 font (PIXELS ? ',11' : ',12') textcolor '#202020'
