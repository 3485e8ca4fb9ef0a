/* csv.c: in: a csv file and the columns a field names; out: one dense row per record.
 * Cells may be quoted; lines end with LF, CR LF or CR; the delimiter is the first of , ; tab in the first line; empty lines
 * are skipped; every record has as many cells as the first.  A cell that is no finite number is named by file, line and
 * column. */
#include "files.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = 1 << 20 };   /* a line of nothing but commas must not fill the memory; what lies beyond is not seen */
/* What is within quotes, if it had any; doubled quotes stay. */
typedef struct Cell { const char *begin, *end; bool quoted; } Cell;
typedef struct Csv {
	const char *at, *end;
	int64_t line;                /* of the next record, from 1 */
	int64_t record_line;         /* of the last record */
	char delimiter;
	int64_t open_line;           /* of the last record: where a quote opens that nothing closes; 0: nowhere */
	VEC(Cell) cells;             /* of the last record */
	Arena *arena;
} Csv;

static bool is_blank(char c) { return c == ' ' || c == '\t'; }
static bool ends_line(char c) { return c == '\n' || c == '\r'; }

/* Past a line end; CR LF is one. */
static void end_line(Csv *csv) {
	csv->at += csv->at[0] == '\r' && csv->at + 1 < csv->end && csv->at[1] == '\n' ? 2 : 1;
	csv->line++;
}

static Csv csv_open(Arena *arena, const char *text, size_t length) {
	Csv csv = {.at = text, .end = text + length, .line = 1, .delimiter = ',', .arena = arena};
	if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) csv.at += 3;
	bool quoted = false;
	for (const char *c = csv.at; c < csv.end && (!ends_line(*c) || quoted); c++) {
		if (*c == '"' && quoted && c + 1 < csv.end && c[1] == '"') c++;
		else if (*c == '"') quoted = !quoted && (c == csv.at || strchr(",;\t ", c[-1]));
		if (quoted || (*c != ',' && *c != ';' && *c != '\t')) continue;
		csv.delimiter = *c;
		break;
	}
	return csv;
}

/* Where tabs delimit, a line of tabs is a record of empty cells. */
static void skip_empty_lines(Csv *csv) {
	for (;;) {
		const char *c = csv->at;
		while (c < csv->end && is_blank(*c) && *c != csv->delimiter) c++;
		if (c < csv->end && !ends_line(*c)) return;
		csv->at = c;
		if (c == csv->end) return;
		end_line(csv);
	}
}

static Cell quoted_cell(Csv *csv) {
	int64_t line = csv->line;
	Cell cell = {++csv->at, NULL, true};
	for (; csv->at < csv->end; csv->at++) {
		if (*csv->at == '\n' || (*csv->at == '\r' && csv->at + 1 < csv->end && csv->at[1] != '\n')) csv->line++;
		if (*csv->at != '"') continue;
		if (csv->at + 1 < csv->end && csv->at[1] == '"') csv->at++;
		else break;
	}
	cell.end = csv->at;
	if (csv->at < csv->end) csv->at++;
	else csv->open_line = line;
	const char *after = csv->at;
	while (csv->at < csv->end && *csv->at != csv->delimiter && !ends_line(*csv->at)) csv->at++;
	while (after < csv->at && is_blank(*after)) after++;
	return after == csv->at ? cell : (Cell){cell.begin - 1, csv->at, false}; /* `"5"x` is no 5 */
}

static Cell plain_cell(Csv *csv) {
	Cell cell = {csv->at, NULL, false};
	while (csv->at < csv->end && *csv->at != csv->delimiter && !ends_line(*csv->at)) csv->at++;
	cell.end = csv->at;
	while (cell.end > cell.begin && is_blank(cell.end[-1])) cell.end--;
	return cell;
}

/* Reads the next record into cells; false at the end. */
static bool next_record(Csv *csv) {
	skip_empty_lines(csv);
	if (csv->at >= csv->end) return false;
	csv->record_line = csv->line;
	csv->open_line = 0;
	csv->cells.length = 0;
	for (;;) {
		while (csv->at < csv->end && *csv->at == ' ') csv->at++;
		Cell cell = csv->at < csv->end && *csv->at == '"' ? quoted_cell(csv) : plain_cell(csv);
		if (csv->cells.length < MAX_COLUMNS) vec_push(csv->arena, &csv->cells, cell);
		if (csv->at >= csv->end) return true;
		if (ends_line(*csv->at)) return end_line(csv), true;
		csv->at++;
	}
}

/* Decimal notation only.  Up to 15 digits and powers of ten up to 22 are exact in double, the rest is strtod's. */
static bool parse_number(Cell cell, double *value) {
	static const double tens[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
		1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	const char *c = cell.begin, *end = cell.end;
	bool negative = c < end && *c == '-';
	if (c < end && (*c == '-' || *c == '+')) c++;
	int64_t digits = 0, mantissa = 0, exponent = 0;
	for (; c < end && *c >= '0' && *c <= '9'; c++, digits++) mantissa = digits < 18 ? mantissa * 10 + (*c - '0') : mantissa;
	if (c < end && *c == '.')
		for (c++; c < end && *c >= '0' && *c <= '9'; c++, digits++, exponent--)
			mantissa = digits < 18 ? mantissa * 10 + (*c - '0') : mantissa;
	if (!digits) return false;
	if (c < end && (*c == 'e' || *c == 'E')) {
		bool minus = c + 1 < end && c[1] == '-';
		c += c + 1 < end && (c[1] == '-' || c[1] == '+') ? 2 : 1;
		if (c == end) return false;
		int64_t written = 0;
		for (; c < end && *c >= '0' && *c <= '9'; c++) written = MIN(written * 10 + (*c - '0'), 100000);
		exponent += minus ? -written : written;
	}
	if (c != end) return false;
	if (digits <= 15 && exponent >= -22 && exponent <= 22) {
		*value = exponent < 0 ? (double)mantissa / tens[-exponent] : (double)mantissa * tens[exponent];
		if (negative) *value = -*value;
	} else {
		char *stop; /* the text is NUL-terminated and what follows the cell ends a number */
		*value = strtod(cell.begin, &stop);
		if (stop != end) return false;
	}
	return true;
}

/* An open quote takes in the rest of the file. */
static bool quotes_close(const Csv *csv, Diag *diag, const File *file, const DataField *field) {
	if (!csv->open_line) return true;
	diag_error(diag, field->span, "'%s', line %" PRId64 ", column %d: a quote opens here, and nothing closes it", file->path,
	           csv->open_line, csv->cells.length);
	return false;
}

/* Where the field's elements stand in a record, and the header if the file has one. */
typedef struct Columns { int *at; int count, width; } Columns;

static const char *cell_text(Arena *arena, Cell cell) {
	int64_t length = MIN(cell.end - cell.begin, 40);
	char *text = arena_text(arena, cell.begin, (size_t)length);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ') *c = '?';
	return text;
}

/* The cell's text as it was meant: a doubled quote within quotes is one. */
static const char *cell_name(Arena *arena, Cell cell) {
	char *name = arena_text(arena, cell.begin, (size_t)(cell.end - cell.begin)), *to = name;
	for (const char *from = name; *from; from++) {
		if (cell.quoted && from[0] == '"' && from[1] == '"') from++;
		*to++ = *from;
	}
	*to = 0;
	return name;
}

static const char *first_cells(const Csv *csv, Arena *arena) {
	Text list = {.arena = arena};
	for (int i = 0; i < csv->cells.length && i < 20; i++)
		text_add(&list, i ? ", %s" : "%s", cell_text(arena, csv->cells.data[i]));
	return list.data;
}

/* Numbers in the first line: told once for all fields and columns. */
static bool no_header(const Csv *csv, Diag *diag, const File *file, const DataField *field) {
	const char *text = arena_printf(diag->arena, "'%s' has no line of names to find columns by: it begins with %s", file->path,
	                                first_cells(csv, diag->arena));
	if (said_before(diag, SEVERITY_ERROR, text)) return false;
	diag_error(diag, field->span, "%s", text);
	diag_help(diag, "take columns by number, from 0: `column = 0`, `columns = 0..%d`", MAX(csv->cells.length, 2));
	return false;
}

static bool find_column(Csv *csv, Diag *diag, const File *file, const DataField *field, const char *name, int *at) {
	const char **names = NEW_ARRAY(csv->arena, const char *, csv->cells.length);
	for (int i = 0; i < csv->cells.length; i++) {
		Cell cell = csv->cells.data[i];
		names[i] = cell_name(csv->arena, cell);
		if (strcmp(names[i], name) != 0) continue;
		*at = i;
		return true;
	}
	bool numbers = false;
	double value;
	for (int i = 0; i < csv->cells.length && i < 20; i++) numbers |= parse_number(csv->cells.data[i], &value);
	if (numbers) return no_header(csv, diag, file, field);
	const char *near = nearest_name(name, names, csv->cells.length);
	diag_error(diag, field->span, "'%s' has no column `%s`", file->path, name);
	if (near) diag_help(diag, "did you mean `%s`?", near);
	else diag_help(diag, "its columns are %s", first_cells(csv, diag->arena));
	return false;
}

/* Reads the first record; leaves the cursor at the first data record. */
static bool csv_begin(Csv *csv, Diag *diag, const File *file, const DataField *field, Columns *columns) {
	Csv start = *csv;
	if (!next_record(csv)) {
		diag_error(diag, field->span, "'%s' is empty", file->path);
		return false;
	}
	if (!quotes_close(csv, diag, file, field)) return false;
	*columns = (Columns){.count = field->ncolumns, .width = csv->cells.length};
	columns->at = NEW_ARRAY(csv->arena, int, MAX(columns->count, 1));
	if (field->columns) {
		for (int i = 0; i < columns->count; i++)
			if (!find_column(csv, diag, file, field, field->columns[i], &columns->at[i])) return false;
		return true;
	}
	if (field->first_column < 0 || columns->count > columns->width - field->first_column) {
		diag_error(diag, field->span, "'%s' has %s; the field wants %d from number %d on (they count from 0)", file->path,
		           arena_count(diag->arena, columns->width, "column"), columns->count, field->first_column);
		return false;
	}
	if (field->all_columns && columns->count < columns->width) {
		diag_error(diag, field->span, "'%s' has %s, the field takes %d", file->path,
		           arena_count(diag->arena, columns->width, "column"), columns->count);
		diag_help(diag, "`column = ..` or `columns = ..` says which, by name or by number from 0; its columns are %s",
		          first_cells(csv, diag->arena));
		return false;
	}
	bool names = false;
	double value;
	for (int i = 0; i < columns->count; i++) {
		columns->at[i] = field->first_column + i;
		names = names || !parse_number(csv->cells.data[columns->at[i]], &value);
	}
	if (!names) { /* no header: the first record is data */
		start.cells.data = csv->cells.data;
		start.cells.capacity = csv->cells.capacity;
		*csv = start;
	}
	return true;
}

int64_t csv_samples(File *file, Diag *diag, const DataField *field) {
	size_t length;
	const char *text = file_text(file, diag, field->span, &length);
	if (!text) return -1;
	Arena *arena = arena_new();
	Csv csv = csv_open(arena, text, length);
	Columns columns;
	int64_t samples = -1;
	if (csv_begin(&csv, diag, file, field, &columns))
		for (samples = 0; next_record(&csv);) samples++;
	if (samples >= 0 && !quotes_close(&csv, diag, file, field)) samples = -1;
	arena_free(arena);
	return samples;
}

static bool bad_cell(Csv *csv, Diag *diag, const File *file, const DataField *field, int at, double value) {
	Cell cell = csv->cells.data[at];
	const char *text = cell_text(diag->arena, cell);
	const char *what = cell.begin == cell.end ? "the cell is empty"
	                 : isinf(value) ? arena_printf(diag->arena, "'%s' is beyond the range of numbers", text)
	                 : isnan(value) ? arena_printf(diag->arena, "'%s' is not a finite number", text)
	                 : field->classes > 0 ? arena_printf(diag->arena, "'%s' is no class of 0..%" PRId64, text, field->classes - 1)
	                 : arena_printf(diag->arena, "'%s' does not fit %s", text, dtype_info[field->type.dtype].text);
	diag_error(diag, field->span, "'%s', line %" PRId64 ", column %d: %s", file->path, csv->record_line, at + 1, what);
	if (field->classes > 0 && value == (double)field->classes) diag_help(diag, "classes count from 0");
	return false;
}

static bool read_record(Csv *csv, Diag *diag, const File *file, const DataField *field, const Columns *columns, char *row) {
	if (!quotes_close(csv, diag, file, field)) return false;
	if (csv->cells.length != columns->width) {
		diag_error(diag, field->span, "'%s', line %" PRId64 ": %s; the first line has %d", file->path, csv->record_line,
		           arena_count(diag->arena, csv->cells.length, "cell"), columns->width);
		return false;
	}
	DType dtype = field->type.dtype;
	for (int i = 0; i < columns->count; i++) {
		double value = 0;
		if (!parse_number(csv->cells.data[columns->at[i]], &value)) return bad_cell(csv, diag, file, field, columns->at[i], NAN);
		char *to = row + i * dtype_info[dtype].bytes;
		bool fits = isfinite(value) && element_store(to, dtype, value);
		if (dtype_is_float(dtype) && isfinite(value) && isinf(element_value(dtype, to))) value = INFINITY, fits = false;
		if (!fits || (field->classes > 0 && (value < 0 || value >= (double)field->classes)))
			return bad_cell(csv, diag, file, field, columns->at[i], value);
	}
	return true;
}

char *csv_read(File *file, Diag *diag, const DataField *field, int64_t *samples) {
	size_t length;
	const char *text = file_text(file, diag, field->span, &length);
	if (!text) return NULL;
	if (type_count(field->type) != field->ncolumns)
		die("field '%s' is %s and takes %d columns", field->name, type_text(diag->arena, field->type), field->ncolumns);
	Arena *arena = arena_new();
	Csv csv = csv_open(arena, text, length);
	Columns columns;
	size_t row = (size_t)type_count(field->type) * (size_t)dtype_info[field->type.dtype].bytes, capacity = 0;
	char *data = NULL;
	bool ok = csv_begin(&csv, diag, file, field, &columns);
	*samples = 0;
	while (ok && next_record(&csv)) {
		if ((size_t)*samples == capacity) { /* grows with what was read, so a false header allocates nothing */
			capacity = MAX(capacity * 2, (size_t)64);
			data = realloc(data, capacity * row);
			if (!data) fatal("out of memory");
		}
		ok = read_record(&csv, diag, file, field, &columns, data + (size_t)*samples * row);
		++*samples;
	}
	if (ok && !data) {
		diag_error(diag, field->span, "'%s' has a header and no data", file->path);
		ok = false;
	}
	arena_free(arena);
	if (ok) return data;
	free(data);
	return NULL;
}
