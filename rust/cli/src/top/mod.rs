//! `forkserve top`: the connections of the servers of this library, live.
//!
//! `terminal` has the screen and the keys, `view` what is shown, `ending` how a connection
//! is ended.

mod ending;
mod terminal;
mod view;

use crate::args;
use crate::failure::Failure;
use crate::output;
use crate::ps;
use crate::servers::{find, Found};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use terminal::{Key, Terminal};
use view::{Order, View};

pub(crate) fn top(arguments: &args::Top) -> Result<ExitCode, Failure> {
    match Terminal::open() {
        Some(terminal) if !arguments.json => on_terminal(arguments, &terminal)?,
        _ => as_text(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(arguments: &args::Top) -> Result<(), Failure> {
    for look in 0..arguments.count.unwrap_or(1) {
        if look > 0 {
            std::thread::sleep(arguments.interval);
        }
        let found = look_at(arguments, arguments.sort)?;
        if arguments.json {
            output::print_json(&found)?;
        } else {
            output::print(&ps::text(&found))?;
        }
    }
    Ok(())
}

fn on_terminal(arguments: &args::Top, terminal: &Terminal) -> Result<(), Failure> {
    let mut view = View::new(arguments.sort);
    for _ in 0..arguments.count.unwrap_or(u64::MAX) {
        view.update(look_at(arguments, view.sort)?);
        let next = Instant::now() + arguments.interval;
        loop {
            output::print(&view.frame(terminal.size()))?;
            let left = next.saturating_duration_since(Instant::now());
            match terminal.key(left) {
                None if left == Duration::ZERO => break,
                None => {}
                Some(Key::End) => return Ok(()),
                Some(Key::Other(key)) => match view.press(key) {
                    Some(Order::Quit) => return Ok(()),
                    Some(Order::End(connection, signal)) => {
                        view.say(ending::end(&connection, signal));
                    }
                    None => {}
                },
            }
        }
    }
    Ok(())
}

fn look_at(arguments: &args::Top, sort: args::Key) -> Result<Found, Failure> {
    let mut found = find(arguments.target.as_ref())?;
    ps::sort(&mut found, sort);
    Ok(found)
}
