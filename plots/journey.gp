# Bars from top to bottom in the order of the spec, with the figure and how many times better than the first bar at each end.
ROWS = int(FIRST[12])
LETTERS = int(FIRST[11])
LEFT = 30 + (LETTERS < 16 ? 16 : LETTERS > 70 ? 70 : LETTERS) * (INCHES > 0 ? 9.0 : 7.2)
RIGHT = 130
WIDTH = LEFT + 480 + RIGHT
HEIGHT = 150 + 34 * ROWS
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
set lmargin at screen LEFT / WIDTH
set rmargin at screen 1 - RIGHT * 1.0 / WIDTH
set tmargin at screen 1 - 60.0 / HEIGHT
set bmargin at screen 85.0 / HEIGHT
set style fill solid 1 noborder
set errorbars 0.5
set title EXPERIMENT . (FIRST[9] eq '' ? '' : ': ' . FIRST[9])
set xlabel METRIC . (FIRST[7] eq '' ? '' : ', ' . FIRST[7]) . (FIRST[10] eq '-1' ? ' (less is better)' : FIRST[10] eq '1' ? ' (more is better)' : '')
set label 1 'x: times better than the first; lines: 95 % interval' at screen 0.985, screen 12.0 / HEIGHT right font ',11' textcolor '#606060'
plot DATA index 0 skip 1 using (0.5 * $3):2:(0.5 * $3):(0.36):($13 == 1 ? 0x999999 : 0x0072b2):ytic(6) \
         with boxxyerror linecolor rgb variable, \
     DATA index 0 skip 1 using 3:2:4:5 with xerrorbars linecolor '#000000' pointtype -1 linewidth 1, \
     DATA index 0 skip 1 using (1.02 * TOP):2:8 with labels left offset 0.5, 0 font ',12' textcolor '#202020'
