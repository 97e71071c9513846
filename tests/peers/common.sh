# common.sh - what the scripts beside it share: messages, checks of options, and llama.cpp, fetched and built once.
# Sourced with `folder` (where everything built goes) and `jobs` set by the caller before build_llama.

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# whole OPTION VALUE: a whole number above 0, or the end.
whole() { case $2 in '' | *[!0-9]* | 0*) die "$1: must be a whole number above 0" ;; esac; }

# make_folder: makes $folder and its name absolute.
make_folder() {
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
}

# build_llama TARGET...: llama.cpp's programs of these names, in $folder/llama.cpp/bin. The source package llama-cpp-python comes by
# pip into $folder/llama_cpp_python and is built with cmake for this CPU (Release, native); what is there is left as it is.
build_llama() {
    missing=
    for target; do [ -x "$folder/llama.cpp/bin/$target" ] || missing="$missing $target"; done
    [ -n "$missing" ] || return 0
    command -v cmake > /dev/null && command -v python3 > /dev/null || die "cmake and python3 with pip are needed to build the peer"
    if [ ! -d "$folder/llama_cpp_python" ]; then
        python3 -m pip download -q --no-deps --no-binary llama-cpp-python -d "$folder" llama-cpp-python
        rm -rf "$folder/unpacked" && mkdir "$folder/unpacked"
        tar xzf "$(ls -t "$folder"/llama_cpp_python-*.tar.gz | head -n 1)" -C "$folder/unpacked" --strip-components 1
        mv "$folder/unpacked" "$folder/llama_cpp_python"
    fi
    cmake -S "$folder/llama_cpp_python/vendor/llama.cpp" -B "$folder/llama.cpp" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
        -DGGML_CCACHE=OFF -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF \
        -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF
    # shellcheck disable=SC2086
    cmake --build "$folder/llama.cpp" -j"$jobs" --target $missing
}

# llama_version: of the package that was built.
llama_version() { sed -n 's/^Version: *//p' "$folder/llama_cpp_python/PKG-INFO" | head -n 1; }
