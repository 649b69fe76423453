//! Each option at both ends of its range and beyond, from the table.

use super::*;

/// The values of an option, each with whether it is to be taken.
macro_rules! values {
    (number ($least:tt, $most:tt)) => {
        [(false, i64::from($least as u32) - 1), (true, $least), (true, $most), (false, $most + 1)]
            .into_iter()
            .filter_map(|(taken, value)| Some((taken, u32::try_from(value).ok()?)))
    };
    (time ($least:tt, $most:tt)) => {
        [(false, $least - 1_i64), (true, $least), (true, $most), (false, $most + 1)]
            .into_iter()
            .filter_map(|(taken, ms)| Some((taken, Duration::from_millis(u64::try_from(ms).ok()?))))
    };
    (limit ($none:expr, $most:tt, $meaning:tt)) => {
        [(true, None), (true, Some($most)), (false, Some($most + 1))]
            .into_iter()
            .map(|(taken, ms)| (taken, ms.map(Duration::from_millis)))
    };
    (bytes ($most:tt)) => {
        [(true, vec![0; $most]), (false, vec![0; $most + 1])].into_iter()
    };
    (signed ($least:literal, $most:literal)) => {
        [(false, $least - 1), (true, $least), (true, $most), (false, $most + 1)].into_iter()
    };
    (setting ($none:literal, $least:literal, $most:literal, $meaning:tt)) => {
        values!(signed($least, $most))
            .map(|(taken, value)| (taken, Some(value)))
            .chain([(true, None)])
    };
    (text ($type:ident, $example:tt)) => {
        [(true, Default::default()), (true, $example.parse().unwrap())].into_iter()
    };
    (flag ()) => {
        [(true, false), (true, true)].into_iter()
    };
    (choice ($choice:ident)) => {
        $choice::ALL.iter().map(|(choice, _)| (true, *choice))
    };
    (mode ()) => {
        [(true, None), (true, Some(0)), (true, Some(0o777)), (false, Some(0o1000))].into_iter()
    };
    ($kind:ident ()) => {
        [(true, Default::default())].into_iter()
    };
}

macro_rules! check {
    ($($topic:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident $(as $c_name:ident)?: $kind:ident $arguments:tt = $default:tt
            $(, $word:ident $text:literal)*;
    )*})*) => {$($(
        for (taken, value) in values!($kind $arguments) {
            // What two options have to do with each other is tested below.
            let mut options = Options {
                max_children: 1_000_000,
                max_handshakes: 1_000_000,
                penalty_max: MAX_TIME,
                proxy_from: "10.0.0.0/8".parse().expect("a network"),
                ..Options::default()
            };
            options.$name = value;
            let misfit = options.first_misfit();
            assert_eq!(misfit.is_none(), taken, "{options:?}");
            assert!(misfit.is_none_or(|misfit| misfit.name == stringify!($name)));
            assert_eq!(options.validate().is_ok(), misfit.is_none());
        }
    )*)*};
}

#[test]
fn each_option_is_taken_within_its_range_only() {
    crate::options_table!(check);
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(Options::default().misfit(), None);
}

#[test]
fn errors_name_option_value_and_range() {
    let text = |options: Options| options.misfit().map(|misfit| misfit.to_string());
    let base = Options::default;
    let expected = "max_children: 0 is not in the range 1 to 1000000";
    assert_eq!(text(Options { max_children: 0, ..base() }).as_deref(), Some(expected));
    let short = Duration::from_millis(999);
    let expected = "rate_interval: 999 ms is not in the range 1000 ms to 86400000 ms";
    assert_eq!(text(Options { rate_interval: short, ..base() }).as_deref(), Some(expected));
    let expected = "refuse_message: 4097 bytes are more than 4096";
    assert_eq!(
        text(Options { refuse_message: vec![0; 4097], ..base() }).as_deref(),
        Some(expected)
    );
    let expected = "socket_mode: 0o1224 is not in the range 0o0 to 0o777";
    assert_eq!(text(Options { socket_mode: Some(660), ..base() }).as_deref(), Some(expected));
    let expected = "spares: 4 is more than max_children, 3";
    let few = Options { max_children: 3, spares: 4, ..base() };
    assert_eq!(text(few).as_deref(), Some(expected));
    let day = Some(Duration::from_secs(86_400));
    let expected = "penalty: 86400000 ms is more than penalty_max, 3600000 ms";
    assert_eq!(text(Options { penalty: day, ..base() }).as_deref(), Some(expected));
}

#[test]
fn proxies_have_networks_and_only_they_come_from_unix_sockets() {
    let text = |options: Options| options.validate().map_err(|error| error.to_string());
    let on = || Options { proxy: Proxy::Any, ..Options::default() };
    let missing = "proxy_from: proxy needs the networks that the proxies are in";
    assert_eq!(text(on()), Err(missing.to_owned()));
    let list = |text: &str| text.parse::<CidrList>().expect("a list");
    for from in ["10.0.0.0/8", "unix:", "::/0 unix:"] {
        assert_eq!(text(Options { proxy_from: list(from), ..on() }), Ok(()));
    }
    let unix = Options { deny: list("unix:"), ..Options::default() };
    assert_eq!(text(unix), Err("deny: \"unix:\" is for proxy_from only".to_owned()));
}
