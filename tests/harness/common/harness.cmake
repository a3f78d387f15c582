# What every tool of the harness has in common: language, warnings as errors, where the program lands.
# A tool includes this and calls harness_tool(NAME sources...); it builds alone and as a subdirectory.
include_guard() # a scope each: the variables below are needed in every one

set(HARNESS_COMMON_DIR "${CMAKE_CURRENT_LIST_DIR}")
set(HARNESS_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes
    -Wmissing-prototypes -Wundef -Wformat=2 -Wvla -Werror)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

function(harness_tool name)
    add_executable(${name} ${ARGN})
    set_target_properties(${name} PROPERTIES
        C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS ON
        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
    target_include_directories(${name} PRIVATE "${HARNESS_COMMON_DIR}")
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
    # Asserts stay in every build: these programs exist to notice what is wrong.
    target_compile_options(${name} PRIVATE ${HARNESS_WARNINGS} -UNDEBUG)
endfunction()
