# Distortion falls fourfold per bit: lines by quantizer on a log axis, between the least that any code can do and the upper bound of
# a random rotation with the best scalar codebook. Bounds count no norms or scales, stored bits do.
WIDTH = 960
HEIGHT = 640
load STYLE

set logscale y
set format y '%.0e'
set title EXPERIMENT . (FIRST[8] eq '1' ? ': ' . FIRST[7] : '')
set xlabel COLUMNS[2]
set ylabel METRIC . ', log scale'
set label 1 'bars: 95 % interval' at screen 0.985, screen 0.02 right font ',11' textcolor '#606060'
set bmargin 5
stats DATA skip 1 using 2:3 name 'S' nooutput
set xrange [S_min_x - 0.3 : S_max_x + 0.3]
set yrange [S_min_y / 4 : S_max_y * 2]
set samples 200

plot for [i = 1:N] DATA index i - 1 skip 1 using 2:3 with lines linecolor rgb colour(i) linewidth 1.2 notitle, \
     for [i = 1:N] DATA index i - 1 skip 1 using 2:3:4:5 with yerrorbars linecolor rgb colour(i) pointtype shape(i) pointsize 0.9 \
         title SERIES[i], \
     sqrt(3) * pi / 2 * 4 ** -x with lines linecolor '#606060' dashtype 2 title '(√3 π / 2) 4^-b, upper bound, norms not counted', \
     4 ** -x with lines linecolor '#000000' dashtype 3 title '4^-b, lower bound of any code'
