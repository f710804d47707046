// SPDX-License-Identifier: Apache-2.0
/*
 * The text of a bundle, and its code cache, as they lie in the page cache: reading 2.5 MB, and making a string of the text, takes
 * 3 ms of the 20 that it takes to begin. They stay mapped until the process ends. As with a program that runs, the files may be
 * replaced meanwhile, but not written to.
 */
#pragma once
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/mman.h>

/* Node 20.4 and newer. */
__attribute__((weak)) napi_status node_api_create_external_string_latin1(napi_env env, char *text, size_t length, void *finalize,
									  void *hint, napi_value *result, bool *is_copied);

/* Maps a whole file for reading. Returns its address, or NULL. */
static char *map_file(const char *path, int64_t *length)
{
	int64_t fd = call(__NR_openat, AT_FDCWD, address_of(path), O_RDONLY | O_CLOEXEC, 0);
	int64_t memory = -1;
	struct statx facts;
	int64_t words[7] = { __NR_statx, fd, address_of(""), AT_EMPTY_PATH, STATX_SIZE, address_of(&facts), 0 };

	if (fd < 0)
		return NULL;
	if (!raw_syscall(words) && (*length = (int64_t)facts.stx_size)) {
		const int64_t map[7] = { __NR_mmap, 0, *length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0 };

		memory = raw_syscall(map);
	}
	call(__NR_close, fd, 0, 0, 0);
	return memory < 0 && memory > -4096 ? NULL : (char *)(uintptr_t)memory;
}

/* mapFile(path, isText): a string of Latin-1 or an ArrayBuffer, not to be written to; undefined where that cannot be. */
static napi_value js_map_file(napi_env env, napi_callback_info info)
{
	size_t count = 2, written;
	napi_value values[2], result;
	char path[4200], *bytes;
	bool is_text, is_copied;
	int64_t length;
	napi_status status;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 2 ||
	    napi_get_value_string_utf8(env, values[0], path, sizeof(path), &written) != napi_ok ||
	    napi_get_value_bool(env, values[1], &is_text) != napi_ok)
		return throw_type(env, "mapFile(path, isText)");
	if (written == sizeof(path) - 1 || (is_text && !node_api_create_external_string_latin1) || !(bytes = map_file(path, &length)))
		return NULL;
	status = is_text ? node_api_create_external_string_latin1(env, bytes, (size_t)length, NULL, NULL, &result, &is_copied)
			 : napi_create_external_arraybuffer(env, bytes, (size_t)length, NULL, NULL, &result);
	if (status == napi_ok && !(is_text && is_copied))
		return result;
	call(__NR_munmap, address_of(bytes), length, 0, 0);
	return status == napi_ok ? result : NULL;
}
