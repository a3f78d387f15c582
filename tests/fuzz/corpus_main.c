/* Runs the kept inputs once each, for builds without libFuzzer: a folder or files as arguments. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_BYTES_MAX ((size_t)1 << 20)

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return -1;
    }
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    size_t size = data ? fread(data, 1, INPUT_BYTES_MAX, file) : 0;
    int failed = !data || ferror(file) ? -1 : 0;
    fclose(file);
    if (!failed) {
        /* Exactly the bytes, so that a sanitizer sees a byte read beyond them. */
        uint8_t *exact = malloc(size ? size : 1);
        if (exact) {
            memcpy(exact, data, size);
            LLVMFuzzerTestOneInput(exact, size);
        }
        failed = exact ? 0 : -1;
        free(exact);
    }
    free(data);
    return failed;
}

/* The number of files run, or -1. */
static int run_folder(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;
    if (!folder) {
        perror(path);
        return -1;
    }
    for (struct dirent *entry; count >= 0 && (entry = readdir(folder));) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        int len = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        count = len < (int)sizeof name && run_file(name) == 0 ? count + 1 : -1;
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        struct stat about;
        if (stat(argv[i], &about) != 0) {
            perror(argv[i]);
            return EXIT_FAILURE;
        }
        int count = S_ISDIR(about.st_mode) ? run_folder(argv[i]) : run_file(argv[i]) == 0 ? 1 : -1;
        if (count < 0)
            return EXIT_FAILURE;
        total += count;
    }
    printf("%d inputs\n", total);
    return total ? EXIT_SUCCESS : EXIT_FAILURE; /* an empty corpus proves nothing */
}
