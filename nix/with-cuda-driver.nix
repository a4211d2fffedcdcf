# One command with the host's CUDA driver in reach; its build runs shellcheck.
{ writeShellApplication, coreutils }:
writeShellApplication {
  name = "with-cuda-driver";
  runtimeInputs = [ coreutils ];
  text = builtins.readFile ./with-cuda-driver.sh;
}
