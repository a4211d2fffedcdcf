# llama.cpp at a locked commit: the bytes that `invoke build` proves out of the package
{ fetchFromGitHub, locked }:
fetchFromGitHub {
  owner = "ggml-org";
  repo = "llama.cpp";
  rev = locked.commit;
  hash = locked.nar_hash;
}
