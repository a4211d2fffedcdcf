# One build of one pin. The definitions are exactly those of provision/build.py; a test
# compares them. build.json tells the harness what the binaries were built from.
{
  lib,
  stdenv,
  cmake,
  autoAddDriverRunpath,
  cudaPackages,
  name,
  source,
  locked,
  recipe,
  buildNumber,
}:
let
  cuda = recipe.backend == "cuda";
  # nvcc limits the version of its host compiler
  compiling = if cuda then cudaPackages.backendStdenv else stdenv;
  fork = locked ? fork;
  targets = [
    "llama-bench"
    "llama-server"
  ]
  ++ lib.optionals (!fork) [
    "llama-fit-params"
    "llama-batched-bench"
  ];
  architectures = map (lib.replaceStrings [ "." ] [ "" ]) (recipe.cuda_capabilities or [ ]);
  shortCommit = lib.substring 0 9 locked.commit;

  definitions = {
    CMAKE_BUILD_TYPE = "Release";
    BUILD_SHARED_LIBS = "OFF";
    GGML_CCACHE = "OFF";
    LLAMA_BUILD_TESTS = "OFF";
    LLAMA_BUILD_EXAMPLES = "OFF";
    LLAMA_OPENSSL = "OFF";
    LLAMA_BUILD_WEBUI = "OFF";
    LLAMA_BUILD_UI = "OFF";
    LLAMA_USE_PREBUILT_UI = "OFF";
    LLAMA_BUILD_APP = "OFF";
    GGML_CUDA = if cuda then "ON" else "OFF";
  }
  // (
    if fork then
      {
        LLAMA_BUILD_EXAMPLES = "ON";
        LLAMA_BUILD_SERVER = "ON";
      }
    else
      {
        LLAMA_BUILD_NUMBER = toString buildNumber;
        LLAMA_BUILD_COMMIT = shortCommit;
      }
  )
  // lib.optionalAttrs cuda {
    CMAKE_CUDA_ARCHITECTURES = lib.concatStringsSep ";" architectures;
  }
  // recipe.cmake or { };

  manifest = {
    key = name;
    inherit (locked) commit;
    build_number = buildNumber;
    inherit (recipe) backend;
    compiler =
      "g++ ${lib.getVersion compiling.cc}"
      + lib.optionalString cuda " + nvcc ${lib.getVersion cudaPackages.cuda_nvcc}";
    cmake = definitions;
    recipe = 2;
  };
in
compiling.mkDerivation {
  pname = "llama-cpp-${name}";
  version = if buildNumber == 0 then shortCommit else toString buildNumber;
  src = source;

  nativeBuildInputs = [
    cmake
  ]
  ++ lib.optionals cuda [
    cudaPackages.cuda_nvcc
    autoAddDriverRunpath
  ];
  buildInputs = lib.optionals cuda [
    cudaPackages.cuda_cccl
    cudaPackages.cuda_cudart
    cudaPackages.libcublas
  ];

  cmakeFlags = lib.mapAttrsToList (key: value: "-D${key}=${value}") definitions ++ [
    "-DCMAKE_PROJECT_INCLUDE=${../scripts/llamatrix/provision/merge.cmake}"
  ];
  manifest = builtins.toJSON manifest;

  buildPhase = ''
    runHook preBuild
    cmake --build . --parallel "$NIX_BUILD_CORES" --target ${toString targets}
    runHook postBuild
  '';

  installPhase = ''
    runHook preInstall
    mkdir -p "$out/bin"
    for target in ${toString targets}; do
      cp "bin/$target" "$out/bin/"
    done
    printf '%s' "$manifest" >"$out/build.json"
    runHook postInstall
  '';

  # a CUDA build links the driver's library, which no build machine has: it cannot start
  # there, and on a host without a driver it must not fall back to the CPU either
  doInstallCheck = !cuda && !fork;
  installCheckPhase = ''
    runHook preInstallCheck
    said=$("$out/bin/llama-server" --version 2>&1)
    case $said in
      *"${shortCommit})"*) ;; # "9553 (9e3b928fd)", "… commit 0c1e57098)"
      *)
        echo "llama-server says '$said', not ${shortCommit}" >&2
        exit 1
        ;;
    esac
    runHook postInstallCheck
  '';

  passthru = { inherit manifest; };
  meta = {
    description = "llama.cpp's server and benchmark, as matrix.toml pins them";
    mainProgram = "llama-server";
  };
}
