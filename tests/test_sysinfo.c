/* test_sysinfo.c - how much memory there is, by files below a folder that stands for the system's root.
 * MemAvailable, cgroups of both versions with those above them, files that are missing or say nothing. */
#include "harness/sysinfo.h"
#include "tests/scratch.h"

static char *root;

static void put(const char *path, const char *content)
{
    char *full = text_format("%s/%s", root, path);
    assert_non_null(full);
    assert_ok(make_folders(full, true, err));
    assert_ok(file_write(full, content, strlen(content), err));
    free(full);
}

static int set_up(void **state)
{
    (void)state;
    root = scratch_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(root);
    return 0;
}

static void test_nothing_known(void **state)
{
    (void)state;
    assert_true(sysinfo_memory(root) == 0);
    put("proc/meminfo", "MemTotal:  8000 kB\nMemAvailable: much\n");
    assert_true(sysinfo_memory(root) == 0);
}

static void test_last_cache(void **state)
{
    (void)state;
    assert_true(sysinfo_last_cache(root) == 0);
    put("sys/devices/system/cpu/cpu0/cache/index0/size", "32K\n");
    put("sys/devices/system/cpu/cpu0/cache/index2/size", "1024K\n");
    assert_true(sysinfo_last_cache(root) == 1 << 20);
    put("sys/devices/system/cpu/cpu0/cache/index3/size", "36608K\n");
    put("sys/devices/system/cpu/cpu0/cache/index4/size", "none\n");
    assert_true(sysinfo_last_cache(root) == 36608u * 1024u);
}

static void test_system(void **state)
{
    (void)state;
    put("proc/meminfo", "MemTotal:       24684084 kB\nMemFree:  1 kB\nMemAvailable:   22386584 kB\n");
    assert_true(sysinfo_memory(root) == 22386584u * 1024ull);
    put("proc/self/cgroup", "0::/\n");                     /* no limit there */
    assert_true(sysinfo_memory(root) == 22386584u * 1024ull);
}

static void test_version_2(void **state)
{
    (void)state;
    put("proc/meminfo", "MemAvailable: 1000000 kB\n");
    put("proc/self/cgroup", "1:name=systemd:/else\n0::/jobs/a\n");
    put("sys/fs/cgroup/jobs/a/memory.max", "max\n");
    put("sys/fs/cgroup/jobs/a/memory.current", "5\n");
    assert_true(sysinfo_memory(root) == 1024000000);
    put("sys/fs/cgroup/jobs/a/memory.max", "500000000\n");
    put("sys/fs/cgroup/jobs/a/memory.current", "300000000\n");
    assert_true(sysinfo_memory(root) == 200000000);
    put("sys/fs/cgroup/jobs/a/memory.stat", "anon 1\nactive_file 20000000\ninactive_file 80000000\n");
    assert_true(sysinfo_memory(root) == 300000000);
    put("sys/fs/cgroup/jobs/memory.max", "400000000\n");   /* the one above it leaves less */
    put("sys/fs/cgroup/jobs/memory.current", "350000000\n");
    assert_true(sysinfo_memory(root) == 50000000);
    put("sys/fs/cgroup/jobs/memory.current", "450000000\n");       /* beyond its limit: nothing, which is not "unknown" */
    assert_true(sysinfo_memory(root) == 1);
}

static void test_version_1(void **state)
{
    (void)state;
    put("proc/meminfo", "MemAvailable: 1000000 kB\n");
    put("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/pod\n");
    put("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/pod/memory.usage_in_bytes", "100\n");
    assert_true(sysinfo_memory(root) == 1024000000);
    put("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "70000000\n");
    put("sys/fs/cgroup/memory/pod/memory.stat", "inactive_file 7\ntotal_inactive_file 40\ntotal_active_file 50\n");
    assert_true(sysinfo_memory(root) == 70000000 - 10);
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "60000000\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
    assert_true(sysinfo_memory(root) == 60000000);
}

/* What no kernel writes. */
static void test_nonsense(void **state)
{
    (void)state;
    put("proc/meminfo", "MemAvailable: 99999999999999999999999 kB\n");
    put("proc/self/cgroup", "\n:::\n4:memory\n0:/no\n7:memory:relative\n0::/\n");
    assert_true(sysinfo_memory(root) == 0);
    put("proc/meminfo", "MemAvailable: -5 kB\n");
    assert_true(sysinfo_memory(root) == 0);
    put("proc/meminfo", "MemAvailable: 18446744073709551615 kB\n");
    assert_true(sysinfo_memory(root) == 0);
}

static void test_here(void **state)
{
    (void)state;
    const uint64_t here = sysinfo_memory("/");
    assert_true(here == 0 || (here > 1 << 20 && here < (uint64_t)1 << 50));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = { TEST(test_nothing_known), TEST(test_system), TEST(test_version_2), TEST(test_version_1),
                                        TEST(test_nonsense), TEST(test_here), TEST(test_last_cache) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
