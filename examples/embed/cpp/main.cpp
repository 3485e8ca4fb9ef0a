// forecasts FOLDER: forecasts each of several signals, learning from every value, and keeps what it has learnt in
// FOLDER/NAME.state.
//
//     make NNC=path/to/nnc && some_sensors | ./forecasts states
//
// in:  lines "NAME VALUE".
// out: for every signal, how far the forecasts of the last thousand values were off, and the next one.
//
// A signal whose file cannot be read ends it, as the end of its input does: the others are kept, that file is left as it is.
// The files are those of ../c: a signal learnt here goes on there.
#include <cerrno>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>

#include "forecaster.h"

namespace {

struct Signal {
	Forecaster forecaster;
	double off = 0;   // a running mean
};

const float LARGEST = 1000;   // what a broken sensor says would undo all learning

void see(Signal &signal, float value) {
	if (signal.forecaster.ready()) signal.off += (std::fabs(value - signal.forecaster.next()) - signal.off) / 1000;
	signal.forecaster.see(value);
}

// What was learnt of it before, if anything was.
Signal resume(const std::string &path) {
	Signal signal;
	errno = 0;
	if (std::ifstream(path) || errno != ENOENT) signal.forecaster = Forecaster::load(path);
	return signal;
}

}  // namespace

int main(int argc, char **argv) {
	if (argc != 2) {
		std::cerr << "usage: forecasts FOLDER < LINES\n";
		return 2;
	}
	const std::string folder = argv[1];
	std::map<std::string, Signal> signals;
	auto path = [&](const std::string &name) { return folder + "/" + name + ".state"; };
	int failed = 0;
	auto attempt = [&](const std::function<void()> &what) {
		try {
			what();
		} catch (const std::exception &error) {
			std::cerr << "forecasts: " << error.what() << "\n";
			failed = 1;
		}
	};

	attempt([&] {
		for (std::string line; std::getline(std::cin, line);) {
			std::istringstream words(line);
			std::string name;
			float value;
			if (!(words >> name >> value) || !(std::fabs(value) <= LARGEST) || name.find('/') != std::string::npos) {
				std::cerr << "forecasts: left out: " << line << "\n";
				continue;
			}
			auto at = signals.find(name);
			if (at == signals.end()) at = signals.emplace(name, resume(path(name))).first;
			see(at->second, value);
		}
	});
	for (const auto &signal : signals) attempt([&] { signal.second.forecaster.save(path(signal.first)); });

	for (const auto &signal : signals) {
		const Forecaster &forecaster = signal.second.forecaster;
		std::cout << signal.first << ": " << forecaster.seen() << " seen, off by " << signal.second.off;
		if (forecaster.ready()) std::cout << ", next " << forecaster.next();
		std::cout << "\n";
	}
	return failed;
}
