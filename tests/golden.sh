#!/bin/sh
# The committed outcomes, results/golden: what is measured now equals them within the tolerance that each spec says, and a changed digit
# is found. Only specs that say `golden`, in their quick variants: results of models depend on the machine.
. "$(dirname "$0")/lib.sh"
cd "$root" || exit

store=$work/golden.db
checked_store "$store"
"$kvant" paper --format csv 2> /dev/null | tr -d '\r' | awk -F, '
    NR > 1 && $15 != "" { last[$1] = $2 " " $16; if (!seen[$1]++) order[++n] = $1 }
    END { for (i = 1; i <= n; i++) print order[i], last[order[i]] }' > "$work/list"
names=
while read -r name variant spec; do
    option=
    [ "$variant" != quick ] || option=--quick
    check "$name" "$kvant" run "$spec" $option --store "$store" < /dev/null
    names="$names $name"
done < "$work/list"
if [ -z "$names" ]; then skipped golden "no spec of experiments/paper says golden"; finish; exit; fi
check as_committed "$kvant" paper $names --store "$store" --golden results/golden

# The last digit before the standard error of one row.
cp -r results/golden "$work/golden"
for name in $names; do
    [ -e "$work/golden/$name-quick.csv" ] && file=$work/golden/$name-quick.csv || file=$work/golden/$name.csv
    awk -F, -v OFS=, 'NR == 2 { $(NF - 1) = $(NF - 1) * 1.01 + 1 } { print }' "$file" > "$work/off" && cp "$work/off" "$file"
    "$kvant" paper "$name" --store "$store" --golden "$work/golden" > "$work/out" 2> "$work/err"
    if [ $? = 1 ] && grep -q ': 1 difference$' "$work/out"; then ok "${name}_off_is_found"
    else failed "${name}_off_is_found" "$(cat "$work/out" "$work/err")"; fi
done
finish
