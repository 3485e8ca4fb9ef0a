/* archive.c: in: an object's bytes, its name, the symbols that it defines; out: an archive that holds it and nothing else, in the
 * format of System V and GNU, which every linker reads.
 * Guarantees: the same input gives the same bytes: no times, no owners. */
#include <string.h>

#include "object.h"

/* The header of a member: name, time, owner, group, mode, size, each as text. */
static void add_member(Text *out, const char *name, size_t size) {
	if (out->length % 2) text_bytes(out, "\n", 1);
	text_add(out, "%-16s%-12d%-6d%-6d%-8s%-10zu`\n", name, 0, 0, 0, *name == '/' && !name[1] ? "0" : "644", size);
}

static void add_big_endian(Text *out, size_t value) {
	char bytes[4];
	for (int i = 0; i < 4; i++) bytes[i] = (char)(value >> (24 - 8 * i));
	text_bytes(out, bytes, sizeof bytes);
}

Object archive_of(Arena *arena, Object object, const char *name, const SymbolList *symbols) {
	enum { SHORT_NAME = 15, MEMBER = 60, MAGIC = 8 };
	size_t names = 0, table, length = strlen(name), longer = length > SHORT_NAME ? (length + 3) / 2 * 2 : 0;
	for (int i = 0; i < symbols->length; i++) names += strlen(symbols->data[i]) + 1;
	table = (4 + 4 * (size_t)symbols->length + names + 1) / 2 * 2;
	size_t at = MAGIC + MEMBER + table + (longer ? MEMBER + longer : 0);   /* of the object's header */
	Text out = {.arena = arena};
	text_add(&out, "!<arch>\n");
	add_member(&out, "/", table);
	add_big_endian(&out, (size_t)symbols->length);
	for (int i = 0; i < symbols->length; i++) add_big_endian(&out, at);
	for (int i = 0; i < symbols->length; i++) text_bytes(&out, symbols->data[i], strlen(symbols->data[i]) + 1);
	if (out.length % 2) text_bytes(&out, "", 1);
	if (longer) {
		add_member(&out, "//", longer);
		text_add(&out, "%s/\n%s", name, length % 2 ? "\n" : "");
	}
	add_member(&out, longer ? "/0" : arena_printf(arena, "%s/", name), object.size);
	if (out.length != at + MEMBER) die("an archive of %zu bytes before its member, not %zu", out.length, at + MEMBER);
	text_bytes(&out, object.bytes, object.size);
	if (out.length % 2) text_bytes(&out, "\n", 1);
	return (Object){out.data, out.length};
}
