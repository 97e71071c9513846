/* sysinfo.c - asks the system and the libraries what they are.
 * Every library that the program links with is named, those that can change a value first. */
#include "harness/lm/gemm.h"
#include "harness/sysinfo.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <archive.h>
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <gsl/gsl_version.h>
#include <openssl/crypto.h>
#include <pcre2.h>
#include <errno.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void sysinfo_cpu(char name[128])
{
    processor_text(name);
    if (!*name)
        snprintf(name, 128, "unknown");
}

int sysinfo_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);       /* more of them than a cpu_set_t holds */
    return cores > 0 ? (int)cores : 1;
}

/* ---- Memory ------------------------------------------------------------------------------------ */

/* A file below root, opened; NULL: not there. */
static FILE *open_below(const char *root, const char *folder, const char *name)
{
    char *path = text_format("%s%s/%s", root, folder, name);
    FILE *f = path ? fopen(path, "r") : NULL;
    free(path);
    return f;
}

/* The number behind a label at the beginning of a line ("" : of the first line); false: none, as for "max". */
static bool read_number(const char *root, const char *folder, const char *name, const char *label, uint64_t *value)
{
    FILE *f = open_below(root, folder, name);
    char line[256];
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        if (strncmp(line, label, strlen(label)))
            continue;
        char *end, *at = line + strlen(label);
        at += strspn(at, " \t");
        errno = 0;
        *value = strtoull(at, &end, 10);
        found = end != at && *at != '-' && !errno;
        if (!*label)
            break;
    }
    if (f)
        fclose(f);
    return found;
}

/* Names of one version's files. */
typedef struct { const char *mount, *limit, *used, *active, *inactive; } cgroup_names;
static const cgroup_names cgroup_1 = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file ",
                                       "total_inactive_file " };
static const cgroup_names cgroup_2 = { "/sys/fs/cgroup", "memory.max", "memory.current", "active_file ", "inactive_file " };

/* Lowers *least to what a cgroup and those above it leave. group: its path, which is cut down. */
static void see_cgroup(const char *root, const cgroup_names *names, char *group, uint64_t *least)
{
    for (;;) {
        char *folder = text_format("%s%s", names->mount, group);
        uint64_t limit, used, active = 0, inactive = 0;
        if (folder && read_number(root, folder, names->limit, "", &limit) && read_number(root, folder, names->used, "", &used)) {
            read_number(root, folder, "memory.stat", names->active, &active);
            read_number(root, folder, "memory.stat", names->inactive, &inactive);
            const uint64_t files = active + inactive, held = used > files ? used - files : 0;
            const uint64_t left = limit > held ? limit - held : 1;         /* 0 would mean that nobody knows */
            *least = left < *least ? left : *least;
        }
        free(folder);
        if (!*group)
            return;
        *strrchr(group, '/') = '\0';
    }
}

uint64_t sysinfo_memory(const char *root)
{
    uint64_t kib, least = UINT64_MAX;
    if (!strcmp(root, "/"))
        root = "";
    if (read_number(root, "/proc", "meminfo", "MemAvailable:", &kib) && kib <= UINT64_MAX / 1024)
        least = kib * 1024;
    FILE *f = open_below(root, "/proc/self", "cgroup");
    char line[4096];
    while (f && fgets(line, sizeof line, f)) {         /* "4:cpu,memory:/a/b", or "0::/a/b" for version 2 */
        line[strcspn(line, "\n")] = '\0';
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        if (!second || second[1] != '/')
            continue;
        *second = '\0';
        char *group = second + 1;
        if (!group[1])
            *group = '\0';
        char *list = first + 1, *rest = NULL;
        if (!*list)
            see_cgroup(root, &cgroup_2, group, &least);
        else
            for (const char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
                if (!strcmp(name, "memory"))
                    see_cgroup(root, &cgroup_1, group, &least);
    }
    if (f)
        fclose(f);
    return least == UINT64_MAX ? 0 : least;
}

uint64_t sysinfo_last_cache(const char *root)
{
    uint64_t most = 0, kib;
    for (int level = 0; level < 16; level++) {         /* "32K", of instructions and data apart; then what is behind them */
        char folder[64];
        snprintf(folder, sizeof folder, "/sys/devices/system/cpu/cpu0/cache/index%d", level);
        if (read_number(strcmp(root, "/") ? root : "", folder, "size", "", &kib) && kib <= UINT64_MAX / 1024)
            most = kib * 1024 > most ? kib * 1024 : most;
    }
    return most;
}

void sysinfo_libraries(text *out)
{
    char pcre2[64] = "PCRE2";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);        /* "10.42 2022-12-11" */
    text_add(out, "%s, GSL %s, SQLite %s, cJSON %s, PCRE2 %.*s, %s, curl %s, OpenSSL %s", gemm_library(), gsl_version,
             sqlite3_libversion(), cJSON_Version(), (int)strcspn(pcre2, " "), pcre2, archive_version_string(),
             curl_version_info(CURLVERSION_NOW)->version, OpenSSL_version(OPENSSL_VERSION_STRING));
}
