# Writes the numbered SQL files into a C file: cmake -D FOLDER=… -D OUT=… -P embed.cmake
file(GLOB files RELATIVE ${FOLDER} ${FOLDER}/[0-9][0-9][0-9][0-9]_*.sql)
list(SORT files)
set(bodies "")
set(rows "")
set(expected 1)
foreach(name ${files})
    string(SUBSTRING ${name} 0 4 digits)
    string(REGEX REPLACE "^0+" "" version ${digits})
    if(NOT version EQUAL expected)
        message(FATAL_ERROR "schemas/ledger: ${name} should be number ${expected}: the files are numbered without gaps")
    endif()
    math(EXPR expected "${expected} + 1")
    file(SHA256 ${FOLDER}/${name} sha256)
    file(READ ${FOLDER}/${name} hex HEX)
    string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(APPEND bodies "static const char file_${version}[] = {\n${bytes}0x00};\n")
    string(APPEND rows "    {${version}, \"${name}\", \"${sha256}\", file_${version}},\n")
endforeach()
file(WRITE ${OUT}.new "/* Made from schemas/ledger by worker/ledger/embed.cmake. */
#include \"schema.h\"

${bodies}
const struct schema_file schema_files[] = {
${rows}};
const size_t schema_file_count = sizeof schema_files / sizeof schema_files[0];
")
file(COPY_FILE ${OUT}.new ${OUT} ONLY_IF_DIFFERENT)
file(REMOVE ${OUT}.new)
