// forecasts FOLDER: forecasts each of several signals, learning from every value, and keeps what it has learnt in
// FOLDER/NAME.state.
//
//     make NNC=path/to/nnc && some_sensors | ./forecasts states
//
// in:  lines "NAME VALUE".
// out: for every signal, how far the forecasts of the last thousand values were off, and the next one.
//
// The files are those of ../c: a signal learnt here goes on there.
#include <cmath>
#include <fstream>
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

}  // namespace

int main(int argc, char **argv) try {
	if (argc != 2) {
		std::cerr << "usage: forecasts FOLDER < LINES\n";
		return 2;
	}
	const std::string folder = argv[1];
	std::map<std::string, Signal> signals;
	auto path = [&](const std::string &name) { return folder + "/" + name + ".state"; };
	for (std::string line; std::getline(std::cin, line);) {
		std::istringstream words(line);
		std::string name;
		float value;
		if (!(words >> name >> value) || !(std::fabs(value) <= LARGEST)) {
			std::cerr << "forecasts: left out: " << line << "\n";
			continue;
		}
		const bool known = signals.count(name);
		Signal &signal = signals[name];
		if (!known && std::ifstream(path(name))) signal.forecaster = Forecaster::load(path(name));
		see(signal, value);
	}
	for (const auto &signal : signals) {
		const Forecaster &forecaster = signal.second.forecaster;
		std::cout << signal.first << ": " << forecaster.seen() << " seen, off by " << signal.second.off;
		if (forecaster.ready()) std::cout << ", next " << forecaster.next();
		std::cout << "\n";
		forecaster.save(path(signal.first));
	}
	return 0;
} catch (const std::exception &error) {
	std::cerr << "forecasts: " << error.what() << "\n";
	return 1;
}
