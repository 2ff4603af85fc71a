#include "lb/main/cli.hpp"

int main(int argc, char** argv) {
  return lb::run_program(argc, argv);
}
