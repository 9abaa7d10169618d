//! How programs find the emulated GPU and NVRTC.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::path::PathBuf;
use std::process::Command;

use cudarc::cublas::CudaBlas;
use cudarc::cublaslt::CudaBlasLT;
use cudarc::driver::CudaContext;
use emulated_gpu::compiler::Release;
use emulated_gpu::names::NAMES;
use emulated_gpu::setup;
use libloading::os::unix::Library;

const CHILD: &str = "EMULATED_GPU_TEST_CHILD";

/// Runs the test `test` again, in a process of its own that `prepare` has a say in.
fn in_child(test: &str, prepare: impl FnOnce(&mut Command, [PathBuf; 2]), program: impl FnOnce()) {
    if env::var_os(CHILD).is_some() {
        return program();
    }
    if setup::real() || !setup::available() {
        return;
    }
    let installation = setup::install().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").env_remove("LD_LIBRARY_PATH");
    prepare(&mut command, [installation.gpu, installation.nvrtc]);
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("running 1 test"), "{text}");
}

/// Uses all four libraries; the GPU's three must share streams and memory.
fn use_everything() {
    let stream = CudaContext::new(0).unwrap().default_stream();
    CudaBlas::new(stream.clone()).unwrap();
    CudaBlasLT::new(stream.clone()).unwrap();
    let x = stream.clone_htod(&[1f32, 2.0]).unwrap();
    assert_eq!(stream.clone_dtoh(&x).unwrap(), [1.0, 2.0]);
    let ptx = cudarc::nvrtc::compile_ptx("extern \"C\" __global__ void empty() {}").unwrap();
    let module = stream.context().load_module(ptx).unwrap();
    module.load_function("empty").unwrap();
}

#[test]
fn by_library_path() {
    let prepare = |command: &mut Command, folders: [PathBuf; 2]| {
        command.env("LD_LIBRARY_PATH", env::join_paths(folders).unwrap());
    };
    in_child("by_library_path", prepare, use_everything);
}

/// Opens one of the GPU's names by its path, and NVRTC; the rest follows.
fn open_by_path(name: &str) {
    let folder = |variable| PathBuf::from(env::var_os(variable).unwrap());
    let nvrtc = Release::chosen().unwrap().libraries.map(|name| folder("NVRTC_FOLDER").join(name));
    for path in nvrtc.into_iter().chain([folder("GPU_FOLDER").join(name)]) {
        // SAFETY: the start-up code of these libraries is sound.
        std::mem::forget(unsafe { Library::new(path) }.unwrap());
    }
    use_everything();
}

fn pass_folders(command: &mut Command, [gpu, nvrtc]: [PathBuf; 2]) {
    command.env("GPU_FOLDER", gpu).env("NVRTC_FOLDER", nvrtc);
}

#[test]
fn by_absolute_path_of_the_driver() {
    in_child("by_absolute_path_of_the_driver", pass_folders, || open_by_path(NAMES[0]));
}

#[test]
fn by_absolute_path_of_cublas() {
    in_child("by_absolute_path_of_cublas", pass_folders, || open_by_path(NAMES[1]));
}

#[test]
fn by_absolute_path_of_cublaslt() {
    in_child("by_absolute_path_of_cublaslt", pass_folders, || open_by_path(NAMES[2]));
}

/// NVRTC looks for the driver under the name the system gives it, and asks it for private tables.
#[test]
fn nvrtc_with_the_driver_under_its_system_name() {
    let prepare = |command: &mut Command, folders: [PathBuf; 2]| {
        let folder = folders[0].join("system-name");
        std::fs::create_dir_all(&folder).unwrap();
        let link = folder.join(format!("libcuda.so.{}", std::process::id()));
        std::os::unix::fs::symlink("../libcuda.so", &link).unwrap();
        std::fs::rename(&link, folder.join("libcuda.so.1")).unwrap();
        let paths = [vec![folder], folders.to_vec()].concat();
        command.env("LD_LIBRARY_PATH", env::join_paths(paths).unwrap());
    };
    in_child("nvrtc_with_the_driver_under_its_system_name", prepare, use_everything);
}
