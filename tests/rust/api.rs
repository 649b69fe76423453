//! What the Rust interface promises a program that uses it, where that cannot
//! be seen from outside of a server (for which see tests/e2e).
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout)]

mod support;

use forkserve::{
    CidrList, Error, Event, Exit, Fork, Options, Orphans, Refusal, Server, EXIT_PANIC,
};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::process::exit;
use std::time::Duration;
use support::{client, descriptors, pipe, readable, server, Ends};

fn main() {
    support::main(&[
        ("a_stopped_server_does_not_run_again", a_stopped_server_does_not_run_again),
        ("without_an_address_nothing_runs", without_an_address_nothing_runs),
        (
            "a_server_with_an_option_out_of_range_is_an_error",
            a_server_with_an_option_out_of_range_is_an_error,
        ),
        ("a_bad_network_is_named", a_bad_network_is_named),
        ("a_penalty_refuses_the_source", a_penalty_refuses_the_source),
        ("the_answer_becomes_the_status", the_answer_becomes_the_status),
        ("a_panic_is_status_70", a_panic_is_status_70),
        ("a_supervisors_panic_is_told_in_one_line", a_supervisors_panic_is_told_in_one_line),
        ("accept_fork_answers_on_both_sides", accept_fork_answers_on_both_sides),
        ("a_child_cannot_use_the_server", a_child_cannot_use_the_server),
        ("a_server_begins_after_a_fork", a_server_begins_after_a_fork),
        ("a_child_may_drop_the_server", a_child_may_drop_the_server),
        ("drop_ends_the_children_and_waits", drop_ends_the_children_and_waits),
        ("released_children_outlive_the_server", released_children_outlive_the_server),
        ("a_server_that_never_ran_leaves_nothing", a_server_that_never_ran_leaves_nothing),
        ("a_broken_listener_leaves_the_others", a_broken_listener_leaves_the_others),
        ("a_listener_of_std_is_served", a_listener_of_std_is_served),
        ("a_socket_that_does_not_listen_is_closed", a_socket_that_does_not_listen_is_closed),
        ("a_host_and_a_service_are_listened_at", a_host_and_a_service_are_listened_at),
        ("an_event_has_the_address_of_its_client", an_event_has_the_address_of_its_client),
        ("a_child_outlives_a_server_that_detaches", a_child_outlives_a_server_that_detaches),
        ("dispatch_tells_what_it_did_and_when", dispatch_tells_what_it_did_and_when),
        ("a_thread_may_stop_it", a_thread_may_stop_it),
        ("a_thread_may_read_the_metrics", a_thread_may_read_the_metrics),
        ("a_connection_knows_both_ends", a_connection_knows_both_ends),
        ("accept_fork_can_be_interrupted", accept_fork_can_be_interrupted),
        ("connections_have_the_options", connections_have_the_options),
        ("an_idle_client_is_timed_out", an_idle_client_is_timed_out),
        ("a_handler_can_be_called_without_a_server", a_handler_can_be_called_without_a_server),
    ])
}

/// Everything that comes until the server closes.
fn rest(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn a_stopped_server_does_not_run_again() {
    let (mut server, _) = server(Options::default());
    server.stopper().stop().unwrap();
    server.run(|_| ()).unwrap();
    let answers = [
        server.run(|_| ()).map_err(|error| error.errno()),
        server.dispatch(|_| ()).map(drop).map_err(|error| error.errno()),
        server.accept_fork().map(drop).map_err(|error| error.errno()),
    ];
    assert_eq!(answers, [Err(libc::ESHUTDOWN); 3]);
    assert_eq!(server.listen("127.0.0.1:0").unwrap_err().errno(), libc::EBUSY);
    server.stopper().stop().unwrap();
}

fn without_an_address_nothing_runs() {
    let mut server = forkserve::Server::new(Options::default()).unwrap();
    let answers = [
        server.run(|_| ()).map_err(|error| error.errno()),
        server.dispatch(|_| ()).map(drop).map_err(|error| error.errno()),
        server.accept_fork().map(drop).map_err(|error| error.errno()),
    ];
    assert_eq!(answers, [Err(libc::EDESTADDRREQ); 3]);
    // That was no run: an address may still come, and is served.
    server.listen("127.0.0.1:0").unwrap();
    let address = server.addresses().next().unwrap().to_owned();
    let ends = Ends::of(&mut server, 1);
    let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
    server.run(|_| ()).unwrap();
    assert_eq!(ends.exits(), [Exit::Code(0)]);
    assert_eq!(client.wait(), 0);
}

fn a_server_with_an_option_out_of_range_is_an_error() {
    let options = Options { max_children: 0, ..Options::default() };
    let error = forkserve::Server::new(options).unwrap_err();
    assert_eq!(error.errno(), libc::EINVAL);
    assert_eq!(error.to_string(), "max_children: 0 is not in the range 1 to 1000000");
}

fn a_bad_network_is_named() {
    let list = CidrList::new(["10.0.0.0/8", "::1"]).unwrap();
    assert_eq!("::1, 10.0.0.0/8".parse::<CidrList>().unwrap(), list);
    assert!(!list.is_empty() && CidrList::default().is_empty());
    assert!(list.contains([10, 1, 2, 3].into()) && !list.contains([11, 1, 2, 3].into()));
    let error = CidrList::new(["10.0.0.0/8", "10.0.0.5/8"]).unwrap_err();
    assert_eq!(error.errno(), libc::EINVAL);
    assert!(error.to_string().starts_with("entry 2, \"10.0.0.5/8\": "), "{error}");
}

fn a_penalty_refuses_the_source() {
    let penalty = Duration::from_secs(3600);
    let (mut server, address) = server(Options {
        penalty: Some(penalty),
        penalty_statuses: vec![EXIT_PANIC as u8],
        refuse_message: b"no".to_vec(),
        ..Options::default()
    });
    let stopper = server.stopper();
    server.observe(move |event| {
        if let Event::Refused { reason, .. } = *event {
            assert_eq!(reason, Refusal::Penalty);
            stopper.stop().unwrap();
        }
    });
    let client = client(&address, |stream| {
        let address = stream.peer_addr().unwrap();
        assert_eq!(rest(&stream), "");
        // The end of the connection comes before the end of the child.
        while rest(&TcpStream::connect(address).unwrap()) != "no" {}
    });
    std::panic::set_hook(Box::new(|_| {}));
    server.run(|_| -> () { panic!("in the handler") }).unwrap();
    assert_eq!(client.wait(), 0);
    let stats = server.stats();
    assert_eq!(stats.refused_penalty, 1);
    assert!(stats.penalties >= 1);
}

/// Serves one client with `handler`; how its child ended.
fn end_of<R: forkserve::ExitStatus>(handler: impl FnMut(&forkserve::Connection) -> R) -> Vec<Exit> {
    let (mut server, address) = server(Options::default());
    let ends = Ends::of(&mut server, 1);
    let client = client(&address, |stream| drop(rest(&stream)));
    server.run(handler).unwrap();
    assert_eq!(client.wait(), 0);
    ends.exits()
}

fn the_answer_becomes_the_status() {
    assert_eq!(end_of(|_| ()), [Exit::Code(0)]);
    assert_eq!(end_of(|_| 7), [Exit::Code(7)]);
    assert_eq!(end_of(|_| 256 + 5), [Exit::Code(5)]);
    assert_eq!(end_of(|_| -1), [Exit::Code(255)]);
    assert_eq!(end_of(|_| io::Result::Ok(())), [Exit::Code(0)]);
    assert_eq!(end_of(|_| Ok::<i32, io::Error>(3)), [Exit::Code(3)]);
    assert_eq!(end_of(|_| Err::<(), _>(io::Error::other("no"))), [Exit::Code(1)]);
}

fn a_panic_is_status_70() {
    std::panic::set_hook(Box::new(|_| {}));
    let (mut told, mut tell) = pipe();
    let exits = end_of(|_| -> i32 { panic!("in the handler") });
    // A child that unwound out of `run` would come by here too.
    tell.write_all(b"x").unwrap();
    drop(tell);
    let mut text = String::new();
    told.read_to_string(&mut text).unwrap();
    assert_eq!(exits, [Exit::Code(EXIT_PANIC)]);
    assert_eq!(text, "x");
}

fn a_supervisors_panic_is_told_in_one_line() {
    std::panic::set_hook(Box::new(|_| {}));
    let (mut server, address) = server(Options::default());
    server.observe(|event| {
        if let Event::Accepted { .. } = event {
            panic!("two\nlines \x1b[2J");
        }
    });
    server.start(|_| 0).unwrap();
    let client = client(&address, |stream| drop(rest(&stream)));
    let error = server.wait_supervisor(None).unwrap_err();
    client.wait();
    assert_eq!(error.errno(), libc::ENOTRECOVERABLE);
    assert_eq!(error.to_string(), r"the supervisor panicked: two\nlines \x1b[2J");
}

fn accept_fork_answers_on_both_sides() {
    let (mut server, address) = server(Options::default());
    let ends = Ends::of(&mut server, 2);
    let clients = [(); 2].map(|()| {
        client(&address, |stream| {
            let pid: u32 = rest(&stream).parse().unwrap();
            assert_ne!(pid, std::process::id());
        })
    });
    let mut pids = Vec::new();
    loop {
        match server.accept_fork() {
            Ok(Fork::Child(connection)) => {
                write!(&connection, "{}", std::process::id()).unwrap();
                exit(connection.id() as i32 + 40);
            }
            Ok(Fork::Parent(pid)) => pids.push(pid),
            Err(error) => break assert_eq!(error.errno(), libc::ESHUTDOWN),
        }
    }
    clients.into_iter().for_each(|client| assert_eq!(client.wait(), 0));
    let (mut ended, mut exits) = (ends.pids(), ends.exits());
    ended.sort_unstable();
    pids.sort_unstable();
    exits.sort_by_key(|exit| format!("{exit:?}"));
    assert_eq!(ended, pids);
    assert_eq!(exits, [Exit::Code(41), Exit::Code(42)]);
}

fn a_child_cannot_use_the_server() {
    let (mut server, address) = server(Options::default());
    let ends = Ends::of(&mut server, 1);
    let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
    loop {
        match server.accept_fork() {
            Ok(Fork::Child(_connection)) => {
                let answers = [
                    server.run(|_| ()).map_err(|error| error.errno()),
                    server.dispatch(|_| ()).map(drop).map_err(|error| error.errno()),
                    server.accept_fork().map(drop).map_err(|error| error.errno()),
                    server.listen("127.0.0.1:0").map_err(|error| error.errno()),
                    server.stopper().stop(),
                ];
                exit(if answers == [Err(libc::ECHILD); 5] { 0 } else { 1 });
            }
            Ok(Fork::Parent(_)) => {}
            Err(error) => break assert_eq!(error.errno(), libc::ESHUTDOWN),
        }
    }
    assert_eq!(ends.exits(), [Exit::Code(0)]);
    assert_eq!(client.wait(), 0);
}

/// The child's drop touches nothing that the parent still needs: neither the
/// registrations in the epoll nor the file of the Unix socket, nor what the
/// child has opened under the numbers of the library's descriptors.
/// The parent, which lives on, has no server any more, and its copy is dropped without harm.
fn a_server_begins_after_a_fork() {
    let (mut server, address) = server(Options::default());
    // SAFETY: the process has one thread here.
    let daemon = unsafe { libc::fork() };
    if daemon == 0 {
        let ends = Ends::of(&mut server, 2);
        let served = server.run(|mut stream| stream.write_all(b"hello"));
        exit(i32::from(served.is_err() || ends.exits() != [Exit::Code(0); 2]));
    }
    let first = client(&address, |stream| assert_eq!(rest(&stream), "hello"));
    assert_eq!(first.wait(), 0);
    let answers = [
        server.run(|_| ()).map_err(|error| error.errno()),
        server.dispatch(|_| ()).map(drop).map_err(|error| error.errno()),
        server.accept_fork().map(drop).map_err(|error| error.errno()),
        server.start(|_| ()).map(drop).map_err(|error| error.errno()),
        server.stopper().stop(),
    ];
    assert_eq!(answers, [Err(libc::ECHILD); 5]);
    drop(server);
    let second = client(&address, |stream| assert_eq!(rest(&stream), "hello"));
    assert_eq!(second.wait(), 0);
    let mut status = -1;
    // SAFETY: `status` is writable.
    assert_eq!(unsafe { libc::waitpid(daemon, &mut status, 0) }, daemon);
    assert_eq!(status, 0);
}

fn a_child_may_drop_the_server() {
    let path = std::env::temp_dir().join(format!("forkserve-drop-{}", std::process::id()));
    let (mut server, address) = server(Options::default());
    server.listen(format!("unix:{}", path.display())).unwrap();
    let ends = Ends::of(&mut server, 3);
    let clients = client(&address, move |stream| {
        assert_eq!(rest(&stream), "");
        assert_eq!(rest(&TcpStream::connect(stream.peer_addr().unwrap()).unwrap()), "");
        let mut unix = std::os::unix::net::UnixStream::connect(path).unwrap();
        assert_eq!(unix.read(&mut [0]).unwrap(), 0);
    });
    loop {
        match server.accept_fork() {
            Ok(Fork::Child(connection)) => {
                let opened: Vec<_> =
                    (0..8).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
                let before = descriptors();
                drop(server);
                let untouched = descriptors() == before;
                drop((opened, connection));
                exit(if untouched { 0 } else { 1 });
            }
            Ok(Fork::Parent(_)) => {}
            Err(error) => break assert_eq!(error.errno(), libc::ESHUTDOWN),
        }
    }
    assert_eq!(ends.exits(), [Exit::Code(0); 3]);
    assert_eq!(clients.wait(), 0);
}

fn drop_ends_the_children_and_waits() {
    let (mut server, address) = server(Options::default());
    let ends = Ends::of(&mut server, usize::MAX);
    let clients = [(); 3].map(|()| client(&address, |stream| assert_eq!(rest(&stream), "")));
    let mut forked = 0;
    while forked < 3 {
        match server.accept_fork().unwrap() {
            Fork::Child(connection) => {
                let _ = (&connection).read(&mut [0]);
                exit(0);
            }
            Fork::Parent(_) => forked += 1,
        }
    }
    assert_eq!(server.stats().live, 3);
    drop(server);
    assert_eq!(ends.exits(), [Exit::Signal(libc::SIGKILL); 3]);
    clients.into_iter().for_each(|client| assert_eq!(client.wait(), 0));
    // That no child and no descriptor is left is seen at the end of each test.
}

fn released_children_outlive_the_server() {
    let options = Options { lifetime: Some(Duration::from_secs(15)), ..Default::default() };
    let (mut server, address) = server(options);
    let (from_test, to_clients) = pipe();
    let clients = [(); 3].map(|()| {
        client(&address, |mut stream| {
            assert!(readable(&from_test, 15_000));
            stream.write_all(b"x").unwrap();
            assert_eq!(rest(&stream), "y");
        })
    });
    let mut forked = Vec::new();
    while forked.len() < 3 {
        match server.accept_fork().unwrap() {
            Fork::Child(connection) => {
                let mut connection = &connection;
                connection.read_exact(&mut [0]).unwrap();
                connection.write_all(b"y").unwrap();
                exit(7);
            }
            Fork::Parent(pid) => forked.push(pid),
        }
    }
    let mut released = server.release_children();
    released.sort_unstable();
    forked.sort_unstable();
    assert_eq!(released, forked);
    assert_eq!(server.release_children(), []);
    drop(server);
    (&to_clients).write_all(b"now").unwrap();
    clients.into_iter().for_each(|client| assert_eq!(client.wait(), 0));
    for pid in forked {
        assert_eq!(support::wait_for(pid), 7);
    }
}

fn a_server_that_never_ran_leaves_nothing() {
    let path = std::env::temp_dir().join(format!("forkserve-never-{}", std::process::id()));
    let (mut server, _) = server(Options::default());
    server.listen(format!("unix:{}", path.display())).unwrap();
    assert!(path.exists());
    drop(server);
    assert!(!path.exists());
}

fn a_broken_listener_leaves_the_others() {
    let broken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut server, address) = server(Options::default());
    let fd = broken.into_raw_fd();
    server.listen(format!("fd:{fd}")).unwrap();
    let ends = Ends::of(&mut server, 1);
    // SAFETY: takes no pointers. It is what makes accept answer EINVAL.
    assert_eq!(unsafe { libc::shutdown(fd, libc::SHUT_RDWR) }, 0);
    let error = server.run(|_| ()).unwrap_err();
    assert_eq!(error.errno(), libc::EINVAL);
    let name = server.addresses().nth(1).unwrap().to_owned();
    assert!(error.to_string().starts_with(&format!("accept {name}: ")), "{error}");
    let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
    server.run(|_| ()).unwrap();
    assert_eq!(ends.exits(), [Exit::Code(0)]);
    assert_eq!(client.wait(), 0);
}

fn a_listener_of_std_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut server = Server::new(Options::default()).unwrap();
    server.listen_fd(listener).unwrap();
    assert_eq!(server.addresses().collect::<Vec<_>>(), [&*address]);
    let ends = Ends::of(&mut server, 1);
    let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
    server.run(|_| ()).unwrap();
    assert_eq!(ends.exits(), [Exit::Code(0)]);
    assert_eq!(client.wait(), 0);
}

fn a_socket_that_does_not_listen_is_closed() {
    let mut server = Server::new(Options::default()).unwrap();
    let (one, _other) = UnixStream::pair().unwrap();
    let fd = one.as_raw_fd();
    let error = server.listen_fd(one).unwrap_err();
    assert_eq!(error.to_string(), format!("listen fd:{fd}: not a listening socket"));
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFD) }, -1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let copy = listener.try_clone().unwrap();
    server.listen_fd(listener).unwrap();
    assert_eq!(server.listen_fd(copy).unwrap_err().errno(), libc::EEXIST);
}

fn a_host_and_a_service_are_listened_at() {
    let mut server = Server::new(Options::default()).unwrap();
    server.listen_host(Some("::1"), "0").unwrap();
    server.listen_host(None, "0").unwrap();
    let addresses: Vec<&str> = server.addresses().collect();
    assert!(addresses[0].starts_with("[::1]:") && addresses[1].starts_with("[::]:"));
    let error = server.listen_host(Some("::1"), "70000").unwrap_err();
    assert!(error.to_string().starts_with("address \"[::1]:70000\" needs a port"), "{error}");
}

fn an_event_has_the_address_of_its_client() {
    let (mut server, address) = server(Options::default());
    let stopper = server.stopper();
    let (told, tell) = pipe();
    server.observe(move |event| {
        assert_eq!(event.peer().is_some(), event.peer_addr().is_some());
        if let Event::Ended { peer, .. } = event {
            assert_eq!(event.peer_addr().map(|peer| peer.to_string()).as_deref(), Some(*peer));
            (&tell).write_all(b"x").unwrap();
            stopper.stop().unwrap();
        }
    });
    let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
    server.run(|_| ()).unwrap();
    (&told).read_exact(&mut [0]).unwrap();
    assert_eq!(client.wait(), 0);
}

fn accept_fork_can_be_interrupted() {
    let (mut server, _) = server(Options::default());
    let stopper = server.stopper();
    let soon = std::thread::spawn(move || stopper.interrupt());
    let errno = |result: Result<Fork, Error>| result.map(drop).unwrap_err().errno();
    assert_eq!(errno(server.accept_fork()), libc::EINTR);
    soon.join().unwrap().unwrap();
    server.stopper().stop().unwrap();
    assert_eq!(errno(server.accept_fork()), libc::ESHUTDOWN);
}

fn a_child_outlives_a_server_that_detaches() {
    let (tied, _) = server(Options { orphans: Orphans::Terminate, ..Options::default() });
    let error = tied.detach().unwrap_err();
    assert_eq!(error.errno(), libc::EINVAL);
    assert!(error.to_string().starts_with("detach: orphans: "), "{error}");
    drop(tied);
    let (mut server, address) = server(Options::default());
    let stopper = server.stopper();
    server.observe(move |event| match event {
        Event::Forked { .. } => stopper.detach().unwrap(),
        Event::Detached { live } => assert_eq!(*live, 1),
        Event::Stopped => panic!("it has not drained"),
        _ => {}
    });
    let (hold, release) = pipe();
    let client = client(&address, |stream| assert_eq!(rest(&stream), "done"));
    let handler = |mut connection: &forkserve::Connection| -> io::Result<()> {
        (&hold).read_exact(&mut [0])?;
        connection.write_all(b"done")
    };
    server.run(handler).unwrap();
    assert_eq!(server.stats().live, 0);
    drop(server);
    (&release).write_all(b"x").unwrap();
    assert_eq!(client.wait(), 0);
    let mut status = 0;
    // SAFETY: `status` is writable. The child is this process's to wait for.
    assert!(unsafe { libc::wait(&mut status) } > 0);
    assert_eq!(status, 0);
}

fn dispatch_tells_what_it_did_and_when() {
    let lifetime = Duration::from_secs(100);
    let (mut server, address) = server(Options { lifetime: Some(lifetime), ..Options::default() });
    assert!(!readable(&server, 0));
    assert_eq!(server.dispatch(|_| ()).unwrap(), 0);
    assert_eq!(server.next_timeout(), None);
    let (hold, release) = pipe();
    let client = client(&address, |stream| assert_eq!(rest(&stream), "done"));
    assert!(readable(&server, 20_000));
    let handler = |mut connection: &forkserve::Connection| -> io::Result<()> {
        (&hold).read_exact(&mut [0])?;
        connection.write_all(b"done")
    };
    assert!(server.dispatch(handler).unwrap() > 0);
    assert_eq!(server.stats().live, 1);
    let next = server.next_timeout().unwrap();
    assert!(next > Duration::from_secs(90) && next <= lifetime, "{next:?}");
    assert!(!readable(&server, 0), "what was told is not told again");
    (&release).write_all(b"x").unwrap();
    assert!(readable(&server, 20_000));
    assert!(server.dispatch(handler).unwrap() > 0);
    assert_eq!((server.stats().live, server.stats().ended), (0, 1));
    server.stopper().stop().unwrap();
    assert!(readable(&server, 0));
    assert_eq!(server.dispatch(handler).unwrap_err().errno(), libc::ESHUTDOWN);
    assert_eq!(client.wait(), 0);
}

fn a_thread_may_stop_it() {
    let (mut server, address) = server(Options::default());
    let (stopper, reader) = (server.stopper(), server.stats_reader());
    let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
    let thread = std::thread::spawn(move || {
        while reader.read().ended == 0 {
            std::thread::yield_now();
        }
        stopper.stop().unwrap();
    });
    server.run(|_| ()).unwrap();
    thread.join().unwrap();
    assert_eq!(client.wait(), 0);
}

fn a_thread_may_read_the_metrics() {
    const ENDED: &str = "forkserve_connections_ended_total{outcome=\"failed\"} 1\n";
    let (mut server, address) = server(Options::default());
    let (stopper, reader) = (server.stopper(), server.metrics_reader());
    assert!(reader.read().contains("forkserve_accept_queue_length{listener=\"127.0.0.1:"));
    let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
    let thread = std::thread::spawn(move || {
        while !reader.read().contains(ENDED) {
            std::thread::yield_now();
        }
        stopper.stop().unwrap();
    });
    server.run(|_| 3).unwrap();
    thread.join().unwrap();
    assert_eq!(client.wait(), 0);
    assert!(server.metrics().contains(ENDED), "after its end as well");
}

fn a_connection_knows_both_ends() {
    let exits = end_of(|connection| -> io::Result<i32> {
        let copy = connection.as_fd().try_clone_to_owned()?;
        let stream = TcpStream::from(copy);
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        let right = connection.peer_addr() == Some(peer)
            && connection.peer_name() == peer.to_string()
            && connection.local_name() == local.to_string()
            && connection.id() == 1;
        Ok(if right { 0 } else { 2 })
    });
    assert_eq!(exits, [Exit::Code(0)]);
}

fn connections_have_the_options() {
    let int_option = |fd: &forkserve::Connection, level, name| {
        let (mut value, mut len) = (0 as libc::c_int, size_of::<libc::c_int>() as u32);
        // SAFETY: `value` is writable for `len` bytes.
        let result = unsafe {
            libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &mut len)
        };
        assert_eq!(result, 0, "getsockopt");
        value
    };
    for wanted in [false, true] {
        let options = Options { nodelay: wanted, keepalive: wanted, ..Options::default() };
        let (mut server, address) = server(options);
        let ends = Ends::of(&mut server, 1);
        let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
        let handler = |connection: &forkserve::Connection| {
            let nodelay = int_option(connection, libc::IPPROTO_TCP, libc::TCP_NODELAY);
            let keepalive = int_option(connection, libc::SOL_SOCKET, libc::SO_KEEPALIVE);
            i32::from((nodelay, keepalive) != (i32::from(wanted), i32::from(wanted)))
        };
        server.run(handler).unwrap();
        assert_eq!(ends.exits(), [Exit::Code(0)]);
        assert_eq!(client.wait(), 0);
    }
}

fn an_idle_client_is_timed_out() {
    let (mut server, address) =
        server(Options { idle: Some(Duration::from_millis(50)), ..Options::default() });
    let ends = Ends::of(&mut server, 1);
    let client = client(&address, |stream| assert_eq!(rest(&stream), ""));
    server
        .run(|mut connection: &forkserve::Connection| {
            let error = connection.read(&mut [0]).unwrap_err();
            i32::from(error.kind() != std::io::ErrorKind::TimedOut)
        })
        .unwrap();
    assert_eq!(ends.exits(), [Exit::Code(0)]);
    assert_eq!(client.wait(), 0);
}

fn a_handler_can_be_called_without_a_server() {
    let before = descriptors();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connection = forkserve::Connection::from_fd(ours.into()).unwrap();
    assert_eq!(
        (connection.id(), connection.peer_name(), connection.local_name()),
        (0, "unix:", "unix:")
    );
    (&connection).write_all(b"hello").unwrap();
    drop(connection);
    let mut text = String::new();
    (&theirs).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    drop(theirs);

    let unconnected = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = forkserve::Connection::from_fd(unconnected.into()).map(drop).unwrap_err();
    assert_eq!(error.errno(), libc::ENOTCONN);
    assert_eq!(descriptors(), before);
}
