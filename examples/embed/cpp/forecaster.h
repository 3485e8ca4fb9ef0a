// forecaster.h: a model as a C++ class.  forecast.nn gives C functions on blocks of memory; here they become an object that owns
// its memory, is copied, moved and kept in containers like any other, and throws where C returns a status.  C++11.
//
// Aligned, Error and check serve any model; Forecaster is this one.
#ifndef FORECASTER_H
#define FORECASTER_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "forecast.h"

// One T, wherever it is kept, at an address that T's alignment of 64 bytes divides: `new` alone promises that from C++17 on only.
template <class T>
class Aligned {
	static_assert(std::is_trivially_copyable<T>::value, "blocks are copied as bytes are");

public:
	Aligned() : memory(new unsigned char[sizeof(T) + alignof(T) - 1]()) {
		void *at = memory.get();
		std::size_t space = sizeof(T) + alignof(T) - 1;
		value = ::new (std::align(alignof(T), sizeof(T), at, space)) T();
	}
	Aligned(const Aligned &other) : Aligned() { *value = *other.value; }
	Aligned(Aligned &&other) noexcept : memory(std::move(other.memory)), value(other.value) { other.value = nullptr; }
	Aligned &operator=(Aligned other) noexcept {
		memory.swap(other.memory);
		std::swap(value, other.value);
		return *this;
	}
	T *get() { return value; }
	const T *get() const { return value; }
	T &operator*() { return *value; }
	const T &operator*() const { return *value; }
	T *operator->() { return value; }
	const T *operator->() const { return value; }

private:
	std::unique_ptr<unsigned char[]> memory;
	T *value;
};

// A call that was refused; it has changed nothing.
class Error : public std::runtime_error {
public:
	explicit Error(int status) : std::runtime_error(text(status)), status(status) {}
	const int status;

private:
	static std::string text(int status) {
		switch (status) {
		case forecast_BAD_BLOCK: return "the block is another program's";
		case forecast_NOT_FINITE: return "a number is not finite";
		default: return "status " + std::to_string(status);
		}
	}
};

inline void check(int status) {
	if (status != forecast_OK) throw Error(status);
}

// Forecasts the next value of a signal and learns from each that comes.  Objects share nothing: each may have its own thread.
// One that was moved from can be destroyed and assigned to, no more.
class Forecaster {
public:
	static constexpr std::size_t window = 8;

	explicit Forecaster(std::uint64_t seed = 1) { check(forecast_init(&state->model, seed)); }

	// Goes on from a file that save() wrote; throws when it is none.
	static Forecaster load(const std::string &path) {
		Forecaster loaded;
		File in(path, "rb");
		if (std::fread(loaded.state.get(), sizeof(State), 1, in.get()) != 1 || std::fgetc(in.get()) != EOF ||
		    forecast_check_train(&loaded.state->model) != forecast_OK)
			throw std::runtime_error(path + ": not a saved Forecaster");
		return loaded;
	}

	// The whole training: parameters, the optimiser's state, counters.  The old file stays until the new one is whole.
	void save(const std::string &path) const {
		const std::string temporary = path + ".new";
		File out(temporary, "wb");
		const bool whole = std::fwrite(state.get(), sizeof(State), 1, out.get()) == 1 && out.close();
		if (whole && std::rename(temporary.c_str(), path.c_str()) == 0) return;
		out.close();
		std::remove(temporary.c_str());
		throw std::runtime_error(path + ": cannot be written");
	}

	bool ready() const { return state->seen >= std::int64_t(window); }
	std::int64_t seen() const { return state->seen; }

	// What comes next, by what has been seen.
	float next() const { return next(state->recent); }

	// What would follow other values.
	float next(const std::array<float, window> &values) const {
		float expected;
		check(forecast_next(&state->model.params, values.data(), &expected, 1, scratch.get()));
		return expected;
	}

	// Learns that `value` came next; gives the squared error of the forecast.  A nan or an infinity throws and is not learnt.
	float see(float value) {
		float loss = 0;
		if (!(value - value == 0)) throw Error(forecast_NOT_FINITE);   // nor kept in the window
		if (ready()) check(forecast_step(&state->model, state->recent.data(), &value, &loss, scratch.get()));
		for (std::size_t i = 1; i < window; i++) state->recent[i - 1] = state->recent[i];
		state->recent[window - 1] = value;
		state->seen++;
		return loss;
	}

	// Any tensor by its path, dense: "next/dense.0/w".
	template <std::size_t n>
	void tensor(const std::string &path, std::array<float, n> &values) const {
		const int i = forecast_find(path.c_str());
		std::size_t count = 1;
		if (i < 0) throw Error(i);
		for (int d = 0; d < forecast_param_table[i].rank; d++) count *= std::size_t(forecast_param_table[i].dim[d]);
		if (count != n) throw std::length_error(path + " has " + std::to_string(count) + " numbers");
		check(forecast_store(&state->model, path.c_str(), values.data()));
	}

private:
	struct State {
		forecast_train model;
		std::array<float, window> recent;   // the latest at the end
		std::int64_t seen;
	};

	class File {
	public:
		File(const std::string &path, const char *mode) : file(std::fopen(path.c_str(), mode)) {
			if (!file) throw std::runtime_error(path + ": cannot be opened");
		}
		~File() { close(); }
		File(const File &) = delete;
		File &operator=(const File &) = delete;
		std::FILE *get() { return file; }
		bool close() {
			const bool done = !file || std::fclose(file) == 0;
			file = nullptr;
			return done;
		}

	private:
		std::FILE *file;
	};

	Aligned<State> state;
	mutable Aligned<forecast_scratch> scratch;   // holds nothing between calls
};

#endif
