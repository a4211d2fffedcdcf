# llama.cpp at a locked commit: the same bytes that `invoke build` verifies from the package
{ fetchFromGitHub, locked }:
fetchFromGitHub {
  owner = "ggml-org";
  repo = "llama.cpp";
  rev = locked.commit;
  hash = locked.nar_hash;
}
