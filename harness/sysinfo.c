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
#include <sched.h>
#include <sqlite3.h>
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

void sysinfo_libraries(text *out)
{
    char pcre2[64] = "PCRE2";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);        /* "10.42 2022-12-11" */
    text_add(out, "%s, GSL %s, SQLite %s, cJSON %s, PCRE2 %.*s, %s, curl %s, OpenSSL %s", gemm_library(), gsl_version,
             sqlite3_libversion(), cJSON_Version(), (int)strcspn(pcre2, " "), pcre2, archive_version_string(),
             curl_version_info(CURLVERSION_NOW)->version, OpenSSL_version(OPENSSL_VERSION_STRING));
}
