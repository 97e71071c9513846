# A row for each pair, its two names on the left, a mark with its interval for each model, what it comes to on the right; filled where
# it is decided. What lies left of the line of equality speaks for A where less is better. In columns of a paper that have no room for
# names beside the marks these stand above them.
ROWS = int(FIRST[10])
LETTERS = int(FIRST[14])
RATIO = FIRST[18] eq '1'
LEFT = 30 + (LETTERS < 20 ? 20 : LETTERS > 80 ? 80 : LETTERS) * 6.9
RIGHT = PIXELS ? 165 : 200
ABOVE = PIXELS && LEFT + 300 + RIGHT > PIXELS
WIDTH = PIXELS ? PIXELS : LEFT + 480 + RIGHT
if (ABOVE) { LEFT = 25 }
NAME_ROOM = WIDTH - 30
NAME_LINES = ABOVE ? int(ceil(LETTERS * 6.16 / NAME_ROOM)) : 1        # of each of the two names
NAMES = ABOVE ? 30 * NAME_LINES + 2 : 0                               # pixels of them above the marks
TALL = NAMES + (ABOVE ? 8 + 20 * N : N < 2 ? 46 : 14 + 20 * N)
HEAD = ABOVE ? 105 : 85
NOTES = PIXELS && PIXELS < 700 ? 2 : 1
BELOW = (PIXELS ? 75 : 60) + 15 * NOTES + 20 * N
HEIGHT = HEAD + TALL * ROWS + BELOW
load STYLE

stats DATA skip 1 using (column(4)) name 'L' nooutput
stats DATA skip 1 using (column(5)) name 'H' nooutput
EQUAL = RATIO ? 1 : 0
LOW = L_min < EQUAL ? L_min : EQUAL
HIGH = H_max > EQUAL ? H_max : EQUAL
if (RATIO) {
    ROOM = HIGH > LOW ? (HIGH / LOW) ** 0.06 : 1.1
    FIRST_X = LOW / ROOM; LAST_X = HIGH * ROOM
    set logscale x
    set xtics (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    CLOSE = WIDTH - LEFT - RIGHT < 400 ? 1.8 : 4              # few tics in a narrow panel
    if (LAST_X / FIRST_X < CLOSE) { set xtics add (0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.2, 1.4, 1.6, 1.8, 2.5, 3, 4) }
} else {
    ROOM = HIGH > LOW ? 0.06 * (HIGH - LOW) : 1
    FIRST_X = LOW - ROOM; LAST_X = HIGH + ROOM
    set xtics step(LAST_X - FIRST_X, 7)
}
set xrange [FIRST_X:LAST_X]
set yrange [ROWS + 0.5:0.5]
set lmargin at screen LEFT * 1.0 / WIDTH
set rmargin at screen 1 - RIGHT * 1.0 / WIDTH
set tmargin at screen 1 - HEAD * 1.0 / HEIGHT
set bmargin at screen BELOW * 1.0 / HEIGHT
unset ytics
set grid xtics noytics
set border 1
set errorbars 0.6
do for [k = 1:ROWS - 1] { set arrow 100 + k from graph 0, first k + 0.5 to graph 1, first k + 0.5 nohead linecolor '#dddddd' linewidth 0.5 }
set arrow 1 from EQUAL, graph 0 to EQUAL, graph 1 nohead linecolor '#000000' linewidth 1.2 back
if (PIXELS) { set key font ',11' }
set key at screen 20.0 / WIDTH, screen ((PIXELS ? 10 : -5) + 15.0 * NOTES + 20 * N) / HEIGHT \
    left top vertical Left reverse noopaque samplen 1
HEADLINE = EXPERIMENT . (FIRST[11] eq '' ? '' : ': ' . FIRST[11]) . (FIRST[15] eq '' ? '' : ' (' . FIRST[15] . ')')
set label 4 fitted(HEADLINE, WIDTH - 20) at screen 0.5, screen 1 - 25.0 / HEIGHT center \
    font (PIXELS ? title_font(HEADLINE, WIDTH - 20) : ',16')
set xlabel FIRST[12] offset 0, 0.3
BETTER = FIRST[13] eq '-1' ? 1 : FIRST[13] eq '1' ? -1 : 0
if (BETTER) {
    set label 1 (BETTER > 0 ? '← A is better' : '← B is better') at graph 0, graph 1 left offset 0, 0.7 font ',11' textcolor '#404040'
    set label 2 (BETTER > 0 ? 'B is better →' : 'A is better →') at graph 1, graph 1 right offset 0, 0.7 font ',11' textcolor '#404040'
}
set label 5 'A, black, against B, grey' at graph 0, graph 1 right offset -1, 0.7 font ',11' textcolor '#404040'
set label 6 'A is: stored bits A / B' at graph 1, graph 1 left offset 1, 0.7 font ',11' textcolor '#404040'
if (ABOVE) {
    set label 5 at graph 0, screen 1 - (HEAD - 30.0) / HEIGHT left offset 0, 0
    set label 6 at screen 1 - 10.0 / WIDTH, screen 1 - (HEAD - 30.0) / HEIGHT right offset 0, 0
}
set label 3 fitted('filled: decided at 5 %, sign test and Holm; bars: paired BCa 95 %, n = ' . FIRST[16] . \
    (FIRST[16] eq FIRST[17] ? '' : ' to ' . FIRST[17]), WIDTH - 10) \
    at screen 0.985, screen (15.0 * NOTES - 1) / HEIGHT right font ',11' textcolor '#606060'

# Where what stands in a row is: the marks below the names, where these are above them.
name(column) = ABOVE && valid(column) ? fitted(strcol(column), NAME_ROOM) : strcol(column)
name_y(row, which) = ABOVE ? row - 0.5 + (11.0 + 15 * NAME_LINES * (which - 1)) / TALL : row
BESIDE_A = ABOVE ? 'left ' . BOXED : 'right offset -1, 0.6'
BESIDE_B = ABOVE ? 'left ' . BOXED : 'right offset -1, -0.6'
place(row, i) = row + (0.5 * NAMES + (i - (N + 1) / 2.0) * 20) / TALL
plot for [i = 1:N] DATA index i - 1 skip 1 using 3:(place($2, i)):4:5 with xerrorbars linecolor rgb colour(i) pointtype shape(i) pointsize 0.01 \
         linewidth 1.5 notitle, \
     for [i = 1:N] DATA index i - 1 skip 1 using 3:(place($2, i)) with points linecolor '#ffffff' pointtype shape(i) pointsize 1 notitle, \
     for [i = 1:N] DATA index i - 1 skip 1 using ($6 == 1 ? $3 : NaN):(place($2, i)) with points linecolor rgb colour(i) pointtype shape(i) \
         pointsize 1 notitle, \
     for [i = 1:N] DATA index i - 1 skip 1 using ($6 == 1 ? NaN : $3):(place($2, i)) with points linecolor rgb colour(i) pointtype shape(i) - 1 \
         pointsize 1 linewidth 1.5 notitle, \
     for [i = 1:N] NaN with points linecolor rgb colour(i) pointtype shape(i) pointsize 1.1 title SERIES[i], \
     for [i = 1:N] DATA index i - 1 skip 1 using (LAST_X):(place($2, i)):(strcol(PIXELS ? 19 : 9)) with labels left offset 1, 0 font ',11' \
         textcolor '#202020' notitle, \
     for [i = 1:N] DATA index i - 1 skip 1 using (FIRST_X):(name_y($2, 1)):(name(7)) with labels @BESIDE_A \
         font ',11' textcolor '#000000' notitle, \
     for [i = 1:N] DATA index i - 1 skip 1 using (FIRST_X):(name_y($2, 2)):(name(8)) with labels @BESIDE_B \
         font ',11' textcolor '#606060' notitle
