// Overloaded: several lambdas as one function object, for std::visit.
#pragma once

namespace lb {

/// std::visit(Overloaded{[](const A&) {...}, [](const B&) {...}}, variant). Calls whichever fits best.
template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

}  // namespace lb
