# llama.cpp at a locked commit: the same bytes that `invoke build` verifies
{
  fetchFromGitHub,
  fetchgit,
  locked,
}:
if locked ? git then
  fetchgit {
    url = locked.git;
    rev = locked.commit;
    hash = locked.nar_hash;
    fetchSubmodules = false;
  }
else
  fetchFromGitHub {
    owner = "ggml-org";
    repo = "llama.cpp";
    rev = locked.commit;
    hash = locked.nar_hash;
  }
