//! A plan on a Slurm of two nodes, which the test starts on this machine without being root: Debian's slurmctld, slurmd
//! and slurm-client, no munge and no database.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::Bench;
use crate::shards::{TASKS, assert_same_as_reference, planned, reference};

/// Set where a skipped test is a failure.
const REQUIRED: &str = "BLEMISH_REQUIRE_SLURM";
/// Tells the processes of one node from those of the other; in the environment of its daemon.
const NODE: &str = "BLEMISH_TEST_NODE";

/// A Slurm of two nodes of two cores in a folder of its own. Its processes end with it.
struct Cluster {
    folder: PathBuf,
}

impl Cluster {
    /// `None` where Slurm is not installed.
    fn start(folder: PathBuf) -> Option<Cluster> {
        for program in ["slurmctld", "slurmd", "sbatch", "squeue", "scontrol"] {
            let found = std::env::split_paths(&path()).any(|folder| folder.join(program).is_file());
            if !found {
                assert!(
                    std::env::var_os(REQUIRED).is_none(),
                    "{program} is not installed, and {REQUIRED} is set"
                );
                eprintln!("skipped: {program} is not installed");
                return None;
            }
        }
        for inner in ["state", "spool/n1", "spool/n2", "log", "run"] {
            std::fs::create_dir_all(folder.join(inner)).unwrap();
        }
        let cluster = Cluster { folder };
        // Held together until all are known, so that they differ.
        let listeners: Vec<TcpListener> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        drop(listeners);
        std::fs::write(cluster.configuration(), cluster.describe(&ports)).unwrap();
        cluster.call("slurmctld", &["-c"]);
        cluster.start_node("n1");
        cluster.start_node("n2");
        cluster.wait_for("both nodes", Duration::from_secs(30), || {
            cluster
                .say("sinfo", &["-h", "-N", "-o", "%t"])
                .matches("idle")
                .count()
                == 2
        });
        Some(cluster)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    fn describe(&self, ports: &[u16]) -> String {
        let said = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let (host, user) = (said("hostname", &["-s"]), said("id", &["-un"]));
        let folder = self.folder.display();
        let [controller, first, second] = ports else {
            panic!("three ports")
        };
        format!(
            "ClusterName=test\n\
             SlurmctldHost={host}(127.0.0.1)\n\
             CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
             SlurmUser={user}\n\
             SlurmdUser={user}\n\
             AuthType=auth/none\n\
             CredType=cred/none\n\
             AuthInfo=cred_expire=5\n\
             SlurmctldPort={controller}\n\
             StateSaveLocation={folder}/state\n\
             SlurmdSpoolDir={folder}/spool/%n\n\
             SlurmctldPidFile={folder}/run/ctld.pid\n\
             SlurmdPidFile={folder}/run/slurmd-%n.pid\n\
             SlurmctldLogFile={folder}/log/ctld.log\n\
             SlurmdLogFile={folder}/log/slurmd-%n.log\n\
             ProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\n\
             JobAcctGatherType=jobacct_gather/none\n\
             AccountingStorageType=accounting_storage/none\n\
             MpiDefault=none\n\
             SelectType=select/cons_tres\n\
             SelectTypeParameters=CR_Core\n\
             SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=20000,batch_sched_delay=0\n\
             SlurmdTimeout=6\n\
             ReturnToService=2\n\
             KillWait=2\n\
             MaxArraySize=5\n\
             SlurmdParameters=config_overrides\n\
             NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=4000 State=UNKNOWN\n\
             NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=4000 State=UNKNOWN\n\
             PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP\n"
        )
    }

    fn start_node(&self, node: &str) {
        let status = self
            .command("slurmd", &["-N", node])
            .env(NODE, node)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "slurmd -N {node}: {status}");
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("SLURM_CONF", self.configuration())
            .env("PATH", path());
        command
    }

    fn call(&self, program: &str, args: &[&str]) {
        let status = self
            .command(program, args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{program} {args:?}: {status}\n{}", self.logs());
    }

    fn say(&self, program: &str, args: &[&str]) -> String {
        let output: Output = self.command(program, args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_for(&self, what: &str, most: Duration, mut there: impl FnMut() -> bool) {
        let start = Instant::now();
        while !there() {
            assert!(
                start.elapsed() < most,
                "waited for {what} for {most:?}\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Running processes of this cluster whose environment has `wanted`, with their names.
    fn processes(&self, wanted: &str) -> Vec<(u32, String)> {
        let ours = format!("SLURM_CONF={}", self.configuration().display());
        let mut found = vec![];
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let has = |variable: &str| environment.split(|b| *b == 0).any(|v| v == variable.as_bytes());
            if has(&ours) && (wanted.is_empty() || has(wanted)) {
                let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push((id, name.trim().to_owned()));
            }
        }
        found
    }

    /// The daemon of a node, its helpers, and the tasks on it.
    fn processes_of_node(&self, node: &str) -> Vec<(u32, String)> {
        let mut found = self.processes(&format!("{NODE}={node}"));
        found.extend(self.processes(&format!("SLURMD_NODENAME={node}")));
        found
    }

    /// What the daemons have to say.
    fn logs(&self) -> String {
        let mut text = self.say("squeue", &[]);
        for name in ["ctld.log", "slurmd-n1.log", "slurmd-n2.log"] {
            let log = std::fs::read_to_string(self.folder.join("log").join(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            text += &format!(
                "{name}:\n{}\n",
                lines[lines.len().saturating_sub(20)..].join("\n")
            );
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Twice: what was started while the first were killed.
        for _ in 0..2 {
            kill(&self.processes(""));
        }
    }
}

/// Ends processes at once, all in one call.
fn kill(processes: &[(u32, String)]) {
    if processes.is_empty() {
        return;
    }
    let ids = processes.iter().map(|(id, _)| id.to_string());
    // Some may have ended by themselves.
    let _ = Command::new("kill")
        .arg("-9")
        .args(ids)
        .stderr(Stdio::null())
        .status();
}

/// Where programs are: daemons lie where a user may not look.
fn path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// A program that fails on its first attempt at some tasks, in several ways, and else is the real one.
fn flaky(bench: &Bench) -> PathBuf {
    let script = bench.path("flaky");
    let text = format!(
        "#!/bin/sh\n\
         # run RUN --task N\n\
         case $4 in 2|5|7)\n\
         \x20 if mkdir '{0}/failed-'$4 2> /dev/null; then\n\
         \x20   [ $4 = 5 ] && kill -9 $$\n\
         \x20   exit $4\n\
         \x20 fi;;\n\
         esac\n\
         exec '{1}' \"$@\"\n",
        bench.path("").display(),
        env!("CARGO_BIN_EXE_blemish"),
    );
    std::fs::write(&script, text).unwrap();
    executable(&script);
    script
}

#[cfg(unix)]
fn executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_node_dies_and_tasks_fail_and_the_results_are_those_of_one_machine() {
    let bench = planned();
    let Some(cluster) = Cluster::start(bench.path("slurm")) else {
        return;
    };
    reference(&bench);
    let program = flaky(&bench);
    let mut submit = bench
        .command(&[
            "submit",
            "slurm",
            "run",
            "--rounds",
            "4",
            "--poll",
            "1",
            "--program",
        ])
        .arg(&program)
        .args(["--", "--cpus-per-task=2", "--mem=1000"])
        .env("SLURM_CONF", cluster.configuration())
        .env("PATH", path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    // Once some results are there and the second node is at work, it dies: daemon, helpers and task in one call.
    let parts = || {
        let folders = std::fs::read_dir(bench.path("run/parts"))
            .into_iter()
            .flatten()
            .flatten();
        let files = folders.flat_map(|f| std::fs::read_dir(f.path()).into_iter().flatten());
        files.count()
    };
    let mut dead = vec![];
    cluster.wait_for("a task on the second node", Duration::from_secs(60), || {
        dead = cluster.processes_of_node("n2");
        parts() >= 4 && dead.iter().any(|(_, name)| name == "blemish")
    });
    assert!(dead.iter().any(|(_, name)| name == "slurmd"), "{dead:?}");
    kill(&dead);
    let down = ["update", "nodename=n2", "state=down", "reason=test"];
    cluster.call("scontrol", &down);
    std::thread::sleep(Duration::from_secs(2));
    cluster.start_node("n2");

    let start = Instant::now();
    let status = loop {
        if let Some(status) = submit.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(120) {
            submit.kill().unwrap();
            panic!("it takes too long\n{}", cluster.logs());
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut said = String::new();
    submit.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    eprintln!("{said}");
    assert_eq!(status.code(), Some(0), "{said}\n{}", cluster.logs());
    // More tasks than an array may have, so two arrays; and some had to be submitted again.
    assert!(said.contains("round 1 of 4: jobs "), "{said}");
    assert!(said.contains("round 2 of 4"), "{said}");
    assert!(
        said.contains(&format!("{TASKS} of {TASKS} tasks have results")),
        "{said}"
    );
    for task in [2, 5, 7] {
        assert!(
            bench.path(&format!("failed-{task}")).is_dir(),
            "task {task} did not fail"
        );
    }
    bench.ok(&["merge", "run"]);
    assert_same_as_reference(&bench);
    // Nothing is left to submit.
    let again = bench
        .command(&["submit", "slurm", "run"])
        .env("SLURM_CONF", cluster.configuration())
        .env("PATH", path())
        .output()
        .unwrap();
    assert!(again.status.success());
    assert!(!String::from_utf8_lossy(&again.stderr).contains("round"));
}
