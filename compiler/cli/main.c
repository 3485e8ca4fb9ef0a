/* main.c: in: the command line; out: one command run, its exit code (base.h). */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define COMMON "name set batch data-dir"
#define RUN COMMON " threads no-cache interpret"

const Command commands[] = {
    {"train", "FILE.nn [options]", "Trains the model of FILE.nn.",
     "Compiles the whole training step (forward, backward, update) to machine code and runs it over the data the file\n"
     "names. Writes weights.safetensors, a checkpoint and a log to a folder beside the file. Ctrl-C finishes the step and\n"
     "saves, with exit code 130; so does SIGTERM, with 143. --resume goes on from there, with the same bits as a training\n"
     "that was never interrupted.\n\n"
     "Example:\n  nnc train examples/fashion.nn --epochs 3 --set WIDTH=64",
     RUN " seed out weights epochs steps resume strict quiet log cpu", command_train},
    {"eval", "FILE.nn --weights W", "Loss and metrics on the validation data.",
     "Uses the data set that the train block validates on; without one, its training data, and says so.\n\n"
     "Example:\n  nnc eval examples/fashion.nn --weights examples/fashion.run/weights.safetensors --json",
     RUN " weights json", command_eval},
    {"predict", "FILE.nn --weights W --input name=x.npy .. --output y.npy", "Runs a model on arrays.",
     "Each --input gives one argument of the model as a NumPy file whose first dim is the samples. Several results go to\n"
     "several files: y.NAME.npy.\n\n"
     "Example:\n  nnc predict examples/fashion.nn --weights w.safetensors --input image=images.npy --output logits.npy",
     RUN " weights model input output quantize", command_predict},
    {"init", "FILE.nn -o W.safetensors", "Writes the initial parameters.",
     "The same numbers that train starts from with that seed.\n\nExample:\n  nnc init examples/fashion.nn --seed 7 -o "
     "start.safetensors",
     RUN " seed output", command_init},
    {"grad", "FILE.nn [--weights W --input name=x.npy .. -o g.safetensors]", "Shows the derivative, or computes it.",
     "Without weights: prints the derivative program, derived by the chain rule and simplified, as a .nn file\n"
     "with a model and no train block, for predict, compile and fmt.\n"
     "With weights and a batch: prints the loss in full precision and writes every parameter's gradient.\n\n"
     "Example:\n  nnc grad examples/xor.nn",
     RUN " seed weights input output f64", command_grad},
    {"check", "FILE.nn", "Checks the derivatives and the compiled code.",
     "For each parameter, the derivative against central differences of the loss, in double precision; then one step of the\n"
     "compiled code against the interpreter, bit for bit. Uses a batch of 4 unless --batch says otherwise.\n\n"
     "Example:\n  nnc check examples/fashion.nn",
     RUN " seed json cpu", command_check},
    {"compile", "FILE.nn -o M.o", "Writes an object file and a header.",
     "The object holds inference and the training step as plain functions that need no runtime, no malloc and no libc;\n"
     "the header beside it declares them for C and C++. Prints code, scratch, stack and parameter bytes.\n"
     "`nnc compile --target list` shows what it can be for.\n\n"
     "Example:\n  nnc compile examples/tutorial2.nn -o tutorial2.o --cpu x86-64-v3",
     COMMON " output target cpu features emit entry budget flash depfile workers explain-memory weights quantize",
     command_compile},
    {"pack", "FILE.nn W.safetensors -o BLOCK", "Weights as a block of the object's.",
     "Writes the X_train, or with --entry infer the X_params, that programs with the object of FILE.nn read as it is, on any\n"
     "target. Without the optimiser's tensors among the weights it begins a new training, as X_init does.\n\n"
     "Example:\n  nnc pack examples/xor.nn examples/xor.run/weights.safetensors -o xor.bin",
     COMMON " second seed output entry no-cache interpret", command_pack},
    {"unpack", "FILE.nn BLOCK -o W.safetensors", "A block of the object's as weights.",
     "BLOCK holds the bytes of an X_params or X_train of the object of FILE.nn, from any target. What is no block of this\n"
     "program is refused.\n\n"
     "Example:\n  nnc unpack examples/xor.nn xor.bin -o xor.safetensors",
     COMMON " second output", command_unpack},
    {"bench", "FILE.nn", "Measures a training step.",
     "Steps per second, GFLOP/s and how much of the machine's FMA peak (measured beside it) that is, time to the first step,\n"
     "memory. Uses made-up data of the declared types, so no data files are needed.\n\n"
     "Example:\n  nnc bench examples/fashion.nn --threads 1 --json",
     RUN " seed steps json cpu", command_bench},
    {"fmt", "FILE.nn [--write]", "Prints the file in the one layout.",
     "Comments are kept; formatting twice changes nothing.\n\nExample:\n  nnc fmt --write model.nn", "write", command_fmt},
    {"dump", "FILE.nn --after=PASS", "Prints the program after a pass.",
     "elab is the program before any pass. --from=PASS reads such a text instead of a .nn file, and --after a later pass.\n"
     "--entry chooses the function: step (default), eval, init, or a model's name.\n\n"
     "Example:\n  nnc dump examples/xor.nn --after=grad",
     COMMON " threads after from entry", command_dump},
};
const int command_count = COUNT(commands);

static void print_help(FILE *out) {
	fputs("nnc: a compiler for differentiable models\n\nusage: nnc COMMAND FILE.nn [options]\n\n", out);
	for (int i = 0; i < command_count; i++) fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
	fputs("\n  nnc COMMAND --help tells more; nnc --version tells the versions.\n"
	      "\nA first model:\n  nnc train examples/xor.nn\n", out);
}

static int unknown_command(const char *name) {
	const char *names[32];
	int n = 0;
	for (; n < command_count; n++) names[n] = commands[n].name;
	if (strcmp(name, "explain") == 0) {
		fputs("nnc: the command 'explain' is not there yet\n", stderr);
		return EXIT_USAGE;
	}
	const char *near = nearest_name(name, names, n);
	fprintf(stderr, "nnc: unknown command '%s'", name);
	if (near) fprintf(stderr, "; did you mean '%s'?", near);
	fputs("\nhelp: nnc --help lists the commands\n", stderr);
	return EXIT_USAGE;
}

static double clock_seconds(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool is_same_file(const char *a, const char *b) {
	struct stat x, y;
	return stat(a, &x) == 0 && stat(b, &y) == 0 && S_ISREG(x.st_mode) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool writes_over(const char *command, const char *written, const char *read) {
	if (!is_same_file(written, read)) return false;
	fprintf(stderr, "nnc %s: '%s' is read, and would be written over\nhelp: name another file to write\n", command, written);
	return true;
}

/* What a command reads it must not write over. */
static bool spares_inputs(const Command *command, const Options *o) {
	const char *written[] = {o->output, o->log, o->depfile}, *read[MAX_REPEATED + 3] = {o->file, o->weights, o->second};
	int n = 3;
	for (int i = 0; i < o->ninputs; i++)
		if (strchr(o->input[i], '=')) read[n++] = strchr(o->input[i], '=') + 1;
	for (int w = 0; w < (int)COUNT(written); w++)
		for (int i = 0; i < n && written[w]; i++)
			if (read[i] && writes_over(command->name, written[w], read[i])) return false;
	return true;
}

static int run_command(int argc, char **argv, double started) {
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("nnc %s (LLVM %s)\n", NNC_VERSION, llvm_version_text());
		return EXIT_DONE;
	}
	for (int i = 0; i < command_count; i++) {
		if (strcmp(commands[i].name, argv[1]) != 0) continue;
		Options options;
		bool help;
		int code = options_parse(&commands[i], argc - 2, argv + 2, &options, &help);
		if (code != EXIT_DONE) return code;
		options.started = started;
		if (!help) return spares_inputs(&commands[i], &options) ? commands[i].run(&options) : EXIT_USAGE;
		print_command_help(&commands[i]);
		return EXIT_DONE;
	}
	return unknown_command(argv[1]);
}

/* A standard stream that was closed would give its number to the next file opened, and messages would go there. */
static void open_streams(void) {
	static const int modes[] = {O_RDONLY, O_RDONLY, O_WRONLY};
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd) fatal("cannot open /dev/null");
}

int main(int argc, char **argv) {
	open_streams();
	/* before main, the process has done nothing but compute */
	double started = clock_seconds(CLOCK_MONOTONIC) - clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
	int code = run_command(argc, argv, started);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		if (code == EXIT_DONE) code = EXIT_RUN;
		fputs("nnc: cannot write to standard output\n", stderr);
	}
	return code;
}
