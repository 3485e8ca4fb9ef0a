/* data.c: in: data declarations; out: dense arrays in memory, sample counts for the elaborator.
 * One job per field, on threads of their own, so that reading goes on while the caller compiles.  Guaranteed: an
 * array has the declared type, every class is in range, all fields of a set have the same number of samples. */
#include "files.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Job {
	const DataField *field;
	File *file;              /* NULL: literal */
	File *source;            /* chars: whose vocabulary it is */
	int number;              /* of the field in its set */
	Arena *arena;
	Diag *diag;
	int64_t samples;
	char *data;
	void *owned;
} Job;

enum { MAX_READERS = 8 };
struct DataLoad {
	Arena *arena;
	const DataSet *set;
	Job *jobs;
	int njobs, nthreads;
	bool found;              /* every file was */
	_Atomic int next;
	pthread_t thread[MAX_READERS];
};

static size_t sample_bytes(const DataField *f) { return (size_t)type_count(f->type) * (size_t)dtype_info[f->type.dtype].bytes; }

static bool is_array(const DataField *f) { return f->kind == SOURCE_IDX || f->kind == SOURCE_NPY; }

/* A file's dims are the samples, then the field's. */
static bool read_header(File *file, Diag *diag, const DataField *field, Header *h) {
	bool ok = field->kind == SOURCE_IDX ? idx_header(file, diag, field->span, h) : npy_header(file, diag, field->span, h);
	if (!ok) return false;
	ok = h->rank == field->type.rank + 1;
	for (int i = 0; ok && i < field->type.rank; i++) ok = h->dim[i + 1] == field->type.dim[i];
	if (!ok) {
		Text want = {.arena = diag->arena};
		for (int i = 0; i < field->type.rank; i++) text_add(&want, ", %" PRId64, field->type.dim[i]);
		diag_error(diag, field->span, "'%s' holds %s%s; field `%s` wants %s[samples%s]", file->path, code_info[h->code].text,
		           dims_text(diag->arena, h->rank, h->dim), field->name, dtype_info[field->type.dtype].text,
		           want.data ? want.data : "");
		return false;
	}
	if (h->dim[0] > 0) return true;
	diag_error(diag, field->span, "'%s' holds no samples", file->path);
	return false;
}

static bool read_array(Job *job) {
	Header h;
	if (!read_header(job->file, job->diag, job->field, &h)) return false;
	char *body = file_body(job->file, job->diag, job->field->span, h.bytes);
	if (!body) return false;
	Wanted wanted = {job->field->type.dtype, job->field->classes, type_count(job->field->type), job->field->span,
	                 job->file->path, true};
	job->data = array_convert(job->diag, &h, body, wanted, &job->owned);
	job->samples = h.dim[0];
	return job->data != NULL;
}

static int64_t raw_samples(File *file, Diag *diag, const DataField *field) {
	size_t length = file->size, row = MAX(sample_bytes(field), (size_t)1), offset = (size_t)MAX(field->offset, 0);
	if (file->gzip && !file_text(file, diag, field->span, &length)) return -1;
	if (length > offset && (length - offset) % row == 0) return (int64_t)((length - offset) / row);
	if (offset)
		diag_error(diag, field->span, "'%s' holds %zu bytes, which is not an offset of %zu and whole samples of %zu", file->path,
		           length, offset, row);
	else
		diag_error(diag, field->span, "'%s' holds %zu bytes, which is not a positive multiple of a sample's %zu", file->path,
		           length, row);
	return -1;
}

static bool read_raw(Job *job) {
	const DataField *f = job->field;
	static const Code codes[DTYPE_COUNT] = {
		[DTYPE_F32] = CODE_F32, [DTYPE_F64] = CODE_F64, [DTYPE_F16] = CODE_F16, [DTYPE_BF16] = CODE_U16,
		[DTYPE_I32] = CODE_I32, [DTYPE_I8] = CODE_I8, [DTYPE_U8] = CODE_U8, [DTYPE_BOOL] = CODE_BOOL};
	if ((job->samples = raw_samples(job->file, job->diag, f)) < 0) return false;
	size_t offset = (size_t)MAX(f->offset, 0), size = offset + (size_t)job->samples * sample_bytes(f), length;
	char *body;
	if (job->file->gzip) {
		const char *text = file_text(job->file, job->diag, f->span, &length);
		if (!text) return false;
		body = malloc(size);
		if (!body) fatal("out of memory");
		memcpy(body, text, size);
	} else {
		body = file_body(job->file, job->diag, f->span, size);
	}
	if (!body) return false;
	int64_t count = job->samples * type_count(f->type);
	Header h = {.code = codes[f->type.dtype], .rank = 1, .dim = {count}, .count = count, .offset = offset, .bytes = size};
	Wanted wanted = {f->type.dtype, f->classes, type_count(f->type), f->span, job->file->path, true};
	if (f->type.dtype == DTYPE_BF16) {
		job->data = body + offset;
		job->owned = body;
		return true;
	}
	job->data = array_convert(job->diag, &h, body, wanted, &job->owned);
	return job->data != NULL;
}

static int64_t literal_samples(const DataField *f) { return f->nvalues / MAX(type_count(f->type), 1); }

static bool read_literal(Job *job) {
	const DataField *f = job->field;
	int size = dtype_info[f->type.dtype].bytes;
	job->samples = literal_samples(f);
	job->data = job->owned = malloc((size_t)MAX(f->nvalues, 1) * (size_t)size);
	if (!job->data) fatal("out of memory");
	for (int64_t i = 0; i < f->nvalues; i++) {
		double v = f->values[i];
		bool fits = element_store(job->data + i * size, f->type.dtype, v);
		if (dtype_is_float(f->type.dtype)) fits = !isinf(element_value(f->type.dtype, job->data + i * size)) || isinf(v);
		if (fits && (f->classes <= 0 || (v >= 0 && v < (double)f->classes))) continue;
		Text value = {.arena = job->arena};
		text_number(&value, v);
		diag_error(job->diag, f->span, "field `%s`, row %" PRId64 ": %s does not fit %s", f->name,
		           i / MAX(type_count(f->type), 1), value.data,
		           f->classes > 0 ? arena_printf(job->arena, "class[%" PRId64 "]", f->classes) : dtype_info[f->type.dtype].text);
		return false;
	}
	return true;
}

static bool job_run(Job *job) {
	switch (job->field->kind) {
	case SOURCE_IDX:
	case SOURCE_NPY: return read_array(job);
	case SOURCE_RAW: return read_raw(job);
	case SOURCE_CSV: job->data = job->owned = csv_read(job->file, job->diag, job->field, &job->samples); return job->data != NULL;
	case SOURCE_LITERAL: return read_literal(job);
	case SOURCE_CHARS:
		job->data = job->owned = chars_read(job->file, job->source, job->diag, job->field, &job->samples);
		return job->data != NULL;
	}
	die("field '%s' has no source", job->field->name);
}

static void *reader_main(void *context) {
	DataLoad *load = context;
	for (int i; (i = atomic_fetch_add(&load->next, 1)) < load->njobs;) {
		if (!job_run(&load->jobs[i])) load->jobs[i].data = NULL;
		if (load->jobs[i].file) file_release(load->jobs[i].file);
		if (load->jobs[i].source) file_release(load->jobs[i].source);
	}
	return NULL;
}

/* Largest first, so that the last thread to finish started early. */
static int by_size(const void *a, const void *b) {
	const Job *x = a, *y = b;
	size_t sx = x->file ? x->file->unpacked : 0, sy = y->file ? y->file->unpacked : 0;
	return sx != sy ? (sx < sy ? 1 : -1) : (x->number > y->number) - (x->number < y->number);
}

/* The job's files; false: reported. */
static bool find_files(Files *files, Diag *diag, Job *job) {
	const DataField *f = job->field;
	if (f->kind == SOURCE_LITERAL) return true;
	job->file = file_find(files, diag, f->span, f->path);
	if (job->file && f->kind == SOURCE_CHARS) job->source = file_find(files, diag, f->span, f->vocab);
	return job->file && (f->kind != SOURCE_CHARS || job->source);
}

DataLoad *data_start(Arena *arena, Diag *diag, Files *files, const DataSet *set, const bool *wanted) {
	DataLoad *load = NEW(arena, DataLoad);
	load->arena = arena;
	load->set = set;
	load->found = true;
	load->jobs = NEW_ARRAY(arena, Job, MAX(set->nfields, 1));
	size_t total = 0;
	for (int i = 0; i < set->nfields; i++) {
		if (wanted && !wanted[i]) continue;
		Job *job = &load->jobs[load->njobs];
		*job = (Job){.field = &set->fields[i], .number = i};
		if (!find_files(files, diag, job)) {
			load->found = false;
			continue;
		}
		load->njobs++;
		job->arena = arena_new();
		job->diag = diag_new(job->arena);
		if (!job->file) continue;
		file_use(job->file);
		if (job->source) file_use(job->source);
		total += job->file->unpacked;
	}
	qsort(load->jobs, (size_t)load->njobs, sizeof *load->jobs, by_size);
	int threads = MIN(MIN(pool_clamp(0), load->njobs), MAX_READERS);
	if (total < 1 << 16) threads = 0; /* a thread costs more than it would save */
	for (; load->nthreads < threads; load->nthreads++)
		if (pthread_create(&load->thread[load->nthreads], NULL, reader_main, load) != 0) break;
	if (!load->nthreads) reader_main(load);
	return load;
}

bool said_before(const Diag *diag, Severity severity, const char *text) {
	for (int i = 0; i < diag->messages.length; i++)
		if (diag->messages.data[i].severity == severity && !strcmp(diag->messages.data[i].text, text)) return true;
	return false;
}

/* Hands the messages of the jobs on, in the order of the fields. */
static void replay(Diag *to, const Diag *from) {
	bool repeated = false;             /* notes and help go with their error */
	for (int i = 0; i < from->messages.length; i++) {
		Message m = from->messages.data[i];
		if (m.severity == SEVERITY_ERROR || m.severity == SEVERITY_WARNING) repeated = said_before(to, m.severity, m.text);
		if (repeated) continue;
		const char *text = arena_text(to->arena, m.text, strlen(m.text));
		switch (m.severity) {
		case SEVERITY_ERROR: diag_error(to, m.span, "%s", text); break;
		case SEVERITY_WARNING: diag_warning(to, m.span, "%s", text); break;
		case SEVERITY_NOTE: diag_note(to, m.span, "%s", text); break;
		case SEVERITY_HELP: diag_help(to, "%s", text); break;
		}
	}
}

static int by_number(const void *a, const void *b) {
	const Job *x = a, *y = b;
	return (x->number > y->number) - (x->number < y->number);
}

static bool unequal(Diag *diag, const DataField *a, int64_t na, const DataField *b, int64_t nb) {
	diag_error(diag, b->span, "field `%s` has %" PRId64 " samples, field `%s` has %" PRId64, b->name, nb, a->name, na);
	diag_note(diag, a->span, "`%s` is read here", a->name);
	return false;
}

Data *data_finish(DataLoad *load, Diag *diag) {
	for (int i = 0; i < load->nthreads; i++) pthread_join(load->thread[i], NULL);
	qsort(load->jobs, (size_t)load->njobs, sizeof *load->jobs, by_number);
	int nfields = MAX(load->set->nfields, 1);
	Data *data = NEW(load->arena, Data);
	*data = (Data){.set = load->set, .samples = -1, .field = NEW_ARRAY(load->arena, char *, nfields),
	               .sample_bytes = NEW_ARRAY(load->arena, size_t, nfields), .owned = NEW_ARRAY(load->arena, void *, nfields)};
	bool ok = load->found;
	const Job *first = NULL;
	for (int i = 0; i < load->njobs; i++) {
		Job *job = &load->jobs[i];
		replay(diag, job->diag);
		arena_free(job->arena);
		data->field[job->number] = job->data;
		data->owned[job->number] = job->owned;
		data->sample_bytes[job->number] = sample_bytes(job->field);
		if (!job->data) {
			ok = false;
			continue;
		}
		if (!first) first = job;
		data->samples = first->samples;
		if (job->samples != first->samples) ok = unequal(diag, first->field, first->samples, job->field, job->samples);
	}
	if (ok) return data;
	data_free(data);
	return NULL;
}

Data *data_load(Arena *arena, Diag *diag, Files *files, const DataSet *set, const bool *wanted) {
	return data_finish(data_start(arena, diag, files, set, wanted), diag);
}

void data_free(Data *data) {
	if (!data) return;
	for (int i = 0; i < data->set->nfields; i++) {
		free(data->owned[i]);
		data->owned[i] = data->field[i] = NULL;
	}
}

/* ---- what the elaborator asks ---- */

static int64_t field_samples(Files *files, Diag *diag, const DataField *field) {
	if (field->kind == SOURCE_LITERAL) return literal_samples(field);
	File *file = file_find(files, diag, field->span, field->path);
	if (!file) return -1;
	Header h;
	if (is_array(field)) return read_header(file, diag, field, &h) ? h.dim[0] : -1;
	if (field->kind == SOURCE_CSV) return csv_samples(file, diag, field);
	return field->kind == SOURCE_RAW ? raw_samples(file, diag, field) : chars_samples(file, diag, field);
}

static DataInfo probe_samples(void *context, Diag *diag, const DataSet *set) {
	DataInfo info = {.ok = set->nfields > 0};
	const DataField *first = NULL;
	for (int i = 0; i < set->nfields; i++) {
		int64_t n = field_samples(context, diag, &set->fields[i]);
		if (n < 0) {
			info.ok = false;
			continue;
		}
		if (!first) {
			first = &set->fields[i];
			info.samples = n;
		}
		if (n != info.samples) info.ok = unequal(diag, first, info.samples, &set->fields[i], n);
	}
	return info;
}

static VocabInfo probe_vocab(void *context, Diag *diag, Span span, const char *path) {
	File *file = file_find(context, diag, span, path);
	const Vocab *vocab = file ? file_vocab(file, diag, span) : NULL;
	return vocab ? (VocabInfo){vocab->count, vocab_text(diag->arena, vocab)} : (VocabInfo){0};
}

DataProbe data_probe(Files *files) {
	return (DataProbe){.context = files, .samples = probe_samples, .vocab = probe_vocab};
}

bool *data_wanted(Arena *arena, const Program *p, const Train *train, bool validate) {
	const DataSet *from = &p->data.data[train->data];
	const DataSet *set = validate && train->validate >= 0 ? &p->data.data[train->validate] : from;
	bool *wanted = NEW_ARRAY(arena, bool, MAX(set->nfields, 1));
	for (int i = 0; i < train->ninputs; i++)
		for (int f = 0; f < set->nfields; f++)
			wanted[f] = wanted[f] || strcmp(set->fields[f].name, from->fields[train->inputs[i]].name) == 0;
	bool any = false;
	for (int f = 0; f < set->nfields; f++) any = any || wanted[f];
	wanted[0] = wanted[0] || !any;   /* a block that reads none still goes over the samples, however many there are */
	return wanted;
}

Array *array_read(Arena *arena, Diag *diag, const char *path, DType want, int64_t classes) {
	File *file = file_open(arena, diag, (Span){0}, path);
	if (!file) return NULL;
	Header h;
	Array *array = NULL;
	void *owned = NULL;
	char *body = NULL, *data = NULL;
	bool ok = npy_header(file, diag, (Span){0}, &h);
	if (ok && h.rank > MAX_RANK) {
		diag_error(diag, (Span){0}, "'%s' has %d dims; at most %d are possible", path, h.rank, MAX_RANK);
		ok = false;
	}
	if (ok) body = file_body(file, diag, (Span){0}, h.bytes);
	if (body)
		data = array_convert(
		    diag, &h, body, (Wanted){want, classes, h.rank && h.dim[0] ? h.count / h.dim[0] : 1, {0}, path, false}, &owned);
	if (data) {
		array = NEW(arena, Array);
		array->type = type_make(want, h.rank, h.dim);
		array->data = arena_copy(arena, data, (size_t)h.count * (size_t)dtype_info[want].bytes);
	}
	free(owned);
	file_close(file);
	return array;
}
