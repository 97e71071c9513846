#!/bin/sh
# The test runner's own test: whatever way a program fails, it is counted, and the closing line and the status say so.
. "$(dirname "$0")/lib.sh"

fake() { # name body...: a program that speaks cmocka's words
    { echo '#!/bin/sh'; cat; } > "$work/$1"
    chmod +x "$work/$1"
}
fake good << 'SH'
echo '[==========] Running 2 test(s).'
echo '[ RUN      ] a'; echo '[       OK ] a'
echo '[ RUN      ] b'; echo 'no data here'; echo '[  SKIPPED ] b'
SH
fake wrong << 'SH'
echo '[==========] Running 1 test(s).'
echo '[ RUN      ] a'; echo 'what it saw'; echo '[  FAILED  ] a'
exit 1
SH
fake crash << 'SH'
echo '[==========] Running 2 test(s).'
echo '[ RUN      ] a'; echo '[       OK ] a'
kill -SEGV $$
SH
fake early << 'SH'
echo '[==========] Running 2 test(s).'
echo '[ RUN      ] a'; echo '[       OK ] a'
SH
fake status << 'SH'
echo '[==========] Running 1 test(s).'
echo '[ RUN      ] a'; echo '[       OK ] a'
exit 66
SH
fake silent < /dev/null
fake endless << 'SH'
sleep 60
SH

judged() { # program counts status text
    rm -f "$work/counts"
    TEST_LIMIT=2 sh "$root/tests/run.sh" "$work/counts" try "$work/$1" > "$work/said" 2>&1
    status=$?
    if [ "$(cat "$work/counts")" != "$2" ]; then failed "counts_$1" "counted $(cat "$work/counts")"
    elif [ "$status" != "$3" ]; then failed "counts_$1" "status $status"
    elif ! grep -q "$4" "$work/said"; then failed "counts_$1" "does not say '$4': $(cat "$work/said")"
    else ok "counts_$1"; fi
}
judged good '1 0 1' 0 'skipped: b - no data here'
judged wrong '0 1 0' 1 'what it saw'
judged crash '1 1 0' 1 'ended early'
judged early '1 1 0' 1 'ended early, status 0'
judged status '1 1 0' 1 'status 66'
judged silent '0 1 0' 1 'no test ran'
judged endless '0 1 0' 1 'stopped after 2 s'

# Side by side, in whatever order: a line for each, and one failure is enough.
: > "$work/counts"
TEST_JOBS=2 sh "$root/tests/run.sh" "$work/counts" try "$work/good" "$work/wrong" "$work/good" > "$work/said" 2>&1
status=$?
if [ "$(sort "$work/counts" | tr '\n' ,)" = '0 1 0,1 0 1,1 0 1,' ] && [ $status = 1 ] && grep -q 'what it saw' "$work/said"; then ok side_by_side
else failed side_by_side "$(cat "$work/counts"), status $status"; fi

printf '3 0 1\n2 1 0\n' > "$work/counts"
total=$(sh "$root/tests/run.sh" --total "$work/counts")
status=$?
if [ "$total" = '5 passed, 1 failed, 1 skipped' ] && [ $status = 1 ]; then ok total; else failed total "$total, status $status"; fi
: > "$work/counts"
sh "$root/tests/run.sh" --total "$work/counts" > /dev/null
if [ $? = 1 ]; then ok nothing_is_no_success; else failed nothing_is_no_success ""; fi
finish
