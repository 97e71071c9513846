#!/bin/sh
# The thread sanitizer's own control: it must see a race between OpenMP threads, and none where a barrier orders them,
# which it can only know when Archer is at work.
# Without this, silence of the other tests would say nothing.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/race.c" <<'C'
int main(void)
{
    int part[4] = { 0 }, sum[4] = { 0 };
#pragma omp parallel for num_threads(4)
    for (int i = 0; i < 4; i++)
        part[i] = i;
#pragma omp parallel num_threads(4)
    {
#pragma omp for
        for (int i = 0; i < 4; i++)
            part[i]++;
#ifdef RACE
        part[0]++;
#endif
#pragma omp for
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                sum[i] += part[j];
    }
    return sum[0] == 10 ? 0 : 1;
}
C
flags="-std=c17 -O1 -g -fopenmp -fsanitize=thread"
echo "[==========] Running 2 test(s)."
clang $flags -o "$dir/clean" "$dir/race.c" && clang $flags -DRACE -o "$dir/race" "$dir/race.c" || exit 1
if "$dir/clean" > "$dir/out" 2>&1; then echo "[       OK ] no_false_race"
else echo "[  FAILED  ] no_false_race"; cat "$dir/out"; fi
if ! "$dir/race" > "$dir/out" 2>&1 && grep -q 'data race' "$dir/out"; then echo "[       OK ] race_is_seen"
else echo "[  FAILED  ] race_is_seen"; cat "$dir/out"; exit 1; fi
