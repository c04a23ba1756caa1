"""Every recorded frame decodes, or is ignored by name; what comes out is the golden events."""

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from streams.contracts import Terms
from streams.events import Instrument, Kind, Liquidation, MacroPrice, OpenInterest, Volume
from streams.venue import (
    BookUpdate,
    Decoded,
    Listing,
    Malformed,
    Poll,
    Reply,
    Request,
    Unreadable,
)
from streams.venues import VENUES
from tests.streams.venue_cases import (
    SEEN,
    as_line,
    check_golden,
    check_invariants,
    check_uncrossed,
    reader,
)

Files = dict[str, tuple[str, str, str]]
"""File → how it is read (as fixtures are named), symbols that are listed, what is ignored.

What is ignored is named by event type or topic; a symbol that is not listed is named after it.
"""

FOLDERS = {
    "binance": "binance-usdm", "bybit": "bybit", "hyperliquid": "hyperliquid", "okx": "okx",
    "bitget": "bitget", "binance-coinm": "binance-coinm", "bybit-inverse": "bybit",
    "gate": "gate",
    "aster": "aster", "deribit": "deribit", "kraken": "kraken_futures", "htx": "htx",
    "binance-spot": "binance-spot", "coinbase": "coinbase", "bybit-spot": "bybit",
    "okx-spot": "okx", "kraken-spot": "kraken_spot", "bitfinex": "bitfinex",
    "lighter": "lighter",
}  # fmt: skip

BINANCE: Files = {
    "btcusdt_ws_depth_trade_bookticker_2024-08-08.jsonl.gz": ("ws", "BTCUSDT", "trade bookTicker"),
    "btcusdt_ws_depth_trade_bookticker_2024-08-08_rest_depth_snapshot.json": (
        "snapshot_BTCUSDT",
        "BTCUSDT",
        "",
    ),
    "cf_ws_depth_bookticker_aggtrade_kline_2021-07-22.jsonl.gz": (
        "ws",
        "SUSHIUSDT AKROUSDT CTKUSDT KEEPUSDT",
        "bookTicker kline aggTrade",
    ),
    "forceOrder_2022-04-25.jsonl": ("ws", "BTCUSDT", ""),
    "live_market_route_2026.jsonl": (
        "ws",
        "BTCUSDT ILVUSDT MANTAUSDT XRPUSDT",
        "kline aggTrade",
    ),
    "live_public_route_2026.jsonl": ("ws", "BTCUSDT ETHUSDT", "bookTicker"),
    "tardis_ws_mixed_2019-2021.jsonl": (
        "ws",
        "BTCUSDT ETHUSDT",
        "aggTrade 24hrTicker trade bookTicker markPriceUpdate:BTCBUSD_210129",
    ),
    "gct_rest_fapi_v1_openInterest_symbol_BTCUSDT.json": ("poll_open_interest", "BTCUSDT", ""),
}
BINANCE |= {
    f"rest_depth_{symbol}_2021-07-22.json": (f"snapshot_{symbol}", symbol, "")
    for symbol in ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT")
}
BINANCE |= {
    f"gct_rest_fapi_v1_depth_limit_{limit}_symbol_BTCUSDT.json": ("snapshot_BTCUSDT", "BTCUSDT", "")
    for limit in (5, 100, 1000)
}
BINANCE |= {
    f"gct_rest_fapi_v1_fundingRate_{query}.json": ("poll_funding", "BTCUSDT LTCUSDT", "")
    for query in (
        "endTime_1580515200000_limit_1000_startTime_1577836800000_sym",
        "endTime_1580515200000_limit_1_startTime_1577836800000_symbol",
        "endTime_1602820102_limit_1_startTime_1602816502_symbol_LTCUS",
        "endTime_1698719354537_limit_1_startTime_1698200954537_symbol",
        "limit_1_symbol_BTCUSDT",
        "symbol_BTCUSDT",
    )
}
BYBIT: Files = {
    "ccxt_linear_orderbook50_2026-08-12.jsonl": ("ws", "BTCUSDT", ""),
    "ccxt_linear_ticker_2026-08-12.jsonl": ("ws", "BTCUSDT", ""),
    "gct_v5_tickers_linear_usdc_inverse_2024-05-15.jsonl": (
        "ws",
        "BTCUSDT BTCPERP",
        "tickers.BTCUSD",
    ),
    "liquidations_live_2024-2026.jsonl": (
        "ws",
        "ADAUSDT ICPUSDT MARSCOINUSDT STRKUSDT BTCUSDT",
        "",
    ),
    "tardis_v5_linear_inverse_ws_2023-2025.jsonl": (
        "ws",
        "BTCUSDT BTCPERP LTCUSDT GALAUSDT PIPPINUSDT",
        "publicTrade.BTCUSD publicTrade.LTCUSDT tickers.BTCUSD tickers.BTCUSDU23"
        " liquidation.GALAUSDT liquidation.XRPUSD",
    ),
    "ticker_deltas_pong_2026-10-04.jsonl": ("ws", "BTCUSDT", "tickers.BTCUSDT"),
}
HYPERLIQUID: Files = {
    "jkorf_bookticker_public.jsonl": ("ws", "HYPE", "bbo"),
    "jkorf_klines_public.jsonl": ("ws", "HYPE", "candle"),
    "jkorf_orderbook_public.jsonl": ("ws", "HYPE", ""),
    "jkorf_prices_public.jsonl": ("ws", "0G", "allMids"),
    "jkorf_trades_public.jsonl": ("ws", "HYPE", "trades"),
    "nautilus_ws_all_dexs_asset_ctxs.jsonl": ("ws", "*", ""),
    "nautilus_ws_allmids.jsonl": ("ws", "BTC", "allMids"),
    "nautilus_ws_user_fill_liquidation.jsonl": ("ws", "BTC", "user"),
    "tardis_hyperliquid_trades_ctx_book_bbo.jsonl": (
        "ws",
        "SHIA BANANA MOODENG BTC",
        "trades activeSpotAssetCtx bbo",
    ),
    "hlsdk_get_funding_history_1684811870000__1.json": ("poll_funding", "BTC", ""),
    "hlsdk_get_funding_history_None__1.json": ("poll_funding", "BTC", ""),
    "jkorf_futures_GetFundingRateHistory.json": ("poll_funding", "ETH", ""),
    "nautilus_http_funding_history.json": ("poll_funding", "BTC", ""),
}
OKX: Files = {
    "ccxt_ws_tickers_books5_trades_2026-08-12.jsonl": (
        "ws",
        "BTC-USDT-SWAP",
        "books5 trades:BTC-USDT tickers:BTC-USDT",
    ),
    "gct_trades_2025-02-24.jsonl": ("ws", "", "trades:BTC-USDT"),
    "liquidations_live_2026.jsonl": (
        "ws",
        "CNPY-USDT-SWAP MINA-USDT-SWAP CELO-USDT-SWAP BTC-USDT-SWAP",
        "",
    ),
    "nautilus_ws_instruments.json": ("ws", "BTC-USDT-SWAP", "instruments"),
    "spot_books_updates_2026-08-24.jsonl": ("ws", "BTC-USDT", ""),
    "tardis_futures_ws_v5.jsonl": (
        "ws",
        "BTC-USDT-SWAP",
        "books-l2-tbt:ADA-USDT-211224 books-l2-tbt:LTC-USDT-220624 index-tickers:FIL-USDT"
        " liquidation-orders:XRP-USD-230929 mark-price:FIL-USDT-220325"
        " open-interest:FIL-USDT-220325 price-limit:XRP-USD-211231 tickers:FIL-USDT-220325"
        " trades:FIL-USD-220325",
    ),
    "tardis_spot_ws_v5.jsonl": (
        "ws",
        "BTC-USDT-SWAP",
        "books-l2-tbt:BTC-DAI books-l2-tbt:ETC-ETH tickers:ACT-USDT trades:CRV-USDT"
        " trades-all:BSV-USDT",
    ),
    "tardis_swap_ws_v5.jsonl": (
        "ws",
        "REN-USDT-SWAP WNCG-USDT-SWAP BTC-USDT-SWAP",
        "bbo-tbt books-l2-tbt funding-rate:SOS-USDT-SWAP trades",
    ),
    "tardis_xperp_2026-08-04.jsonl": ("ws", "BTC-USD_UM_XPERP-310404", "index-tickers:BTC-USD"),
    "ws_error_examples_2026-08-11.jsonl": ("ws", "BTC-USDT-SWAP", ""),
}
BITGET: Files = {
    "tardis_v3_futures_ws_2026-04-28.jsonl": (
        "ws",
        "BTCUSDT APEUSDT IPUSDT",
        "publicTrade books1 ticker",
    ),
}
_OF_2021 = (
    "BCHUSD_210924 BCHUSD_PERP BTCUSD_211231 EOSUSD_PERP ETCUSD_PERP ETHUSD_210924 LINKUSD_211231"
    " LINKUSD_PERP TRXUSD_PERP XRPUSD_PERP"
)
COIN_M: Files = {
    "btcusd_perp_ws_depth_trade_bookticker_2024-08-08.jsonl.gz": (
        "ws",
        "BTCUSD_PERP",
        "trade bookTicker",
    ),
    "btcusd_perp_ws_depth_trade_bookticker_2024-08-08_rest_depth_snapshot.json": (
        "snapshot_BTCUSD_PERP",
        "BTCUSD_PERP",
        "",
    ),
    "cf_ws_depth_bookticker_aggtrade_kline_2021-07-22.jsonl.gz": (
        "ws",
        _OF_2021,
        "bookTicker kline aggTrade",
    ),
    "live_dstream_2026-09.jsonl": ("ws", "BTCUSD_PERP", "24hrTicker"),
    "tardis_ws_mixed_2020-2022.jsonl": (
        "ws",
        "BTCUSD_200925 BNBUSD_PERP",
        "indexPriceUpdate 24hrTicker trade bookTicker",
    ),
    "gct_rest_dapi_v1_openInterest_symbol_BTCUSD_PERP.json": (
        "poll_open_interest",
        "BTCUSD_PERP",
        "",
    ),
}
COIN_M |= {
    f"rest_depth_{symbol}_2021-07-22.json": (f"snapshot_{symbol}", symbol, "")
    for symbol in _OF_2021.split()
}
COIN_M |= {
    f"gct_rest_dapi_v1_depth_limit_{limit}_symbol_BTCUSD_PERP.json": (
        "snapshot_BTCUSD_PERP",
        "BTCUSD_PERP",
        "",
    )
    for limit in (5, 100, 1000)
}
COIN_M |= {
    f"gct_rest_dapi_v1_fundingRate_{query}.json": ("poll_funding", "BTCUSD_PERP", "")
    for query in (
        "endTime_1580515200000_limit_1000_startTime_1577836800000_sym",
        "endTime_1580515200000_limit_50_startTime_1577836800000_symbo",
        "limit_5_symbol_BTCUSD_PERP",
    )
}
ASTER: Files = {
    "jkorf_futures_GetFundingRates.json": ("poll_funding", "BTCUSDT", ""),
    "jkorf_futuresv3_GetFundingRates.json": ("poll_funding", "BTCUSDT", ""),
    "jkorf_futures_GetOrderBook.json": ("snapshot_BTCUSDT", "BTCUSDT", ""),
    "jkorf_futuresv3_GetOrderBook.json": ("snapshot_BTCUSDT", "BTCUSDT", ""),
}
BYBIT_INVERSE: Files = {
    "gct_v5_tickers_linear_usdc_inverse_2024-05-15.jsonl": (
        "ws",
        "BTCUSD",
        "tickers.BTCPERP tickers.BTCUSD tickers.BTCUSDT",
    ),
    "tardis_v5_linear_inverse_ws_2023-2025.jsonl": (
        "ws",
        "BTCUSD",
        "allLiquidation.PIPPINUSDT liquidation.GALAUSDT liquidation.XRPUSD orderbook.1.BTCUSDT"
        " orderbook.50.BTCPERP publicTrade.BTCUSD publicTrade.LTCUSDT tickers.BTCUSDT"
        " tickers.BTCUSDU23",
    ),
}
GATE: Files = {
    "ccxt_ws_tickers_2026-08-12.jsonl": ("ws", "BTC_USDT", ""),
    "cf_futures_ws_order_book_update_book_ticker_2023-05-24.jsonl": (
        "ws",
        "",
        "futures.book_ticker futures.candlesticks futures.order_book_update",
    ),
    "gct_futures_btc_order_book_2023-03-10.jsonl": (
        "ws",
        "",
        "futures.order_book futures.order_book_update",
    ),
    "probe_ws_obu_tickers_2026-09-15.jsonl": (
        "ws",
        "BTC_USDT ETH_USDT CHR_USDT",
        "futures.book_ticker futures.order_book_update",
    ),
    "public_liquidates_live_2026-08-10.jsonl": ("ws", "HEI_USDT LAB_USDT", ""),
    "tardis_futures_decimal_ws_2026-03.jsonl": (
        "ws",
        "ETH_USDT",
        "futures.book_ticker futures.order_book futures.trades",
    ),
    "tardis_futures_ws_2020-2023.jsonl": (
        "ws",
        "BTC_USDT",
        "futures.book_ticker futures.order_book futures.tickers:ETC_USD futures.trades",
    ),
}
OPTIONS = (
    "BTC-24JUN22-15000-C BTC-24SEP21-34000-P BTC-24SEP21-8000-P BTC-25MAR22-30000-C"
    " BTC-30JUL21-24000-P BTC-31DEC21-300000-C BTC-31DEC21-34000-P ETH-23JUL21-2300-C"
    " ETH-27AUG21-4000-P ETH-30JUL21-2800-C"
)
DERIBIT: Files = {
    "cryptofeed_deribit_options_ticker_book_raw.jsonl": ("ws", OPTIONS, ""),
    "gct_deribit_wsAllTrades.jsonl": ("ws", "BTC-PERPETUAL", "trades"),
    "nautilus_ws_book_delta.jsonl": ("ws", "BTC-PERPETUAL", ""),
    "nautilus_ws_book_grouped_snapshot.jsonl": ("ws", "BTC-PERPETUAL", "book"),
    "nautilus_ws_book_snapshot.jsonl": ("ws", "BTC-PERPETUAL", ""),
    "nautilus_ws_error.jsonl": ("ws", "BTC-PERPETUAL", ""),
    "nautilus_ws_quote.jsonl": ("ws", "BTC-PERPETUAL", "quote"),
    "nautilus_ws_subscribe_response.jsonl": ("ws", "BTC-PERPETUAL", ""),
    "nautilus_ws_test_request.jsonl": ("ws", "BTC-PERPETUAL", ""),
    "nautilus_ws_ticker.jsonl": ("ws", "BTC-PERPETUAL", ""),
    "nautilus_ws_trades.jsonl": ("ws", "BTC-PERPETUAL", "trades"),
    "nautilus_ws_trades_option_combo.jsonl": ("ws", "BTC-PERPETUAL", "trades"),
    "tardis_deribit_mixed.jsonl": (
        "ws",
        "BTC-PERPETUAL ETH-PERPETUAL LINK_USDC-PERPETUAL ETH-10SEP21-3350-P",
        "quote ticker:BTC-5JUN20-9250-C ticker:BTC-8JUN20-8750-P ticker:BTC-FS-30SEP22_PERP"
        " ticker:BTC-CSR12-16SEP22-21000_23000 ticker:BTC-STRD-30SEP22-20000"
        " ticker:ETH-10JUN20-270-C ticker:ETH-5JUN20-310-P ticker:MATIC_USDC-9MAR24-1d02-C trades",
    ),
}
KRAKEN: Files = {
    "cryptofeed_krakenfutures_book_ticker_lite_trade.jsonl.gz": (
        "ws",
        "FI_BCHUSD_210730 FI_BCHUSD_210924 FI_ETHUSD_210730 FI_ETHUSD_211231 FI_XBTUSD_210730"
        " FI_XBTUSD_210924 FI_XRPUSD_210924 PI_ETHUSD PI_LTCUSD PI_XRPUSD",
        "ticker_lite trade trade_snapshot",
    ),
    "jkorf_futures_public.jsonl": ("ws", "PF_ETHUSD", ""),
    "nautilus_ws_futures_book_delta.jsonl": ("ws", "PI_XBTUSD", ""),
    "nautilus_ws_futures_book_snapshot.jsonl": ("ws", "PI_XBTUSD", ""),
    "nautilus_ws_futures_ticker.jsonl": ("ws", "PI_XBTUSD", ""),
    "nautilus_ws_futures_trade_snapshot.jsonl": ("ws", "PI_XBTUSD", "trade_snapshot"),
    "tardis_krakenfutures_ticker_trade_liquidation_book.jsonl": (
        "ws",
        "PI_LTCUSD PI_XRPUSD PI_ETHUSD PI_BCHUSD PF_SUIUSD",
        "book:FI_LTCUSD_190426 ticker:FI_ETHUSD_190426 ticker:FI_LTCUSD_190628"
        " trade:FI_XBTUSD_190426 trade:FI_XBTUSD_190927",
    ),
}
BINANCE_SPOT: Files = {
    "btcusdt_ws_depth_trade_bookticker_2024-08-08.jsonl.gz": ("ws", "BTCUSDT", "trade bookTicker"),
    "btcusdt_ws_depth_trade_bookticker_2024-08-08_rest_depth_snapshot.json": (
        "snapshot_BTCUSDT",
        "BTCUSDT",
        "",
    ),
    "ccxt_ws_2026-08-12.jsonl": ("ws", "BTCUSDT", "bookTicker kline"),
    "cf_ws_depth_bookticker_aggtrade_kline_2021-10-12.jsonl.gz": (
        "ws",
        "NKNUSDT BLZETH LRCBTC RUNEEUR",
        "bookTicker aggTrade kline",
    ),
    "gct_rest_api_v3_depth_limit_1000_symbol_BTCUSDT.json": ("snapshot_BTCUSDT", "BTCUSDT", ""),
    "gct_rest_api_v3_ticker_24hr_all.json": ("check_1", "ETHBTC LTCBTC", ""),
    "gct_rest_api_v3_ticker_24hr_symbols_5B_22BTCUSDT_22_2C_22ETHUSDT_22_5D.json": (
        "check_1",
        "BTCUSDT ETHUSDT",
        "",
    ),
    "tardis_ws_mixed_2019.jsonl": ("ws", "BTCUSDC GNTBTC", "trade bookTicker 24hrTicker"),
}
BINANCE_SPOT |= {
    f"rest_depth_{symbol}_2021-10-12.json": (f"snapshot_{symbol}", symbol, "")
    for symbol in ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")
}
BYBIT_SPOT: Files = {
    "ccxt_spot_ticker_orderbook1_2026-08-12.jsonl": ("ws", "BTCUSDT", ""),
    "tardis_v5_spot_ws_2023-04.jsonl": (
        "ws",
        "BTCUSDT",
        "publicTrade.BTCUSDT publicTrade.BTCUSDC",
    ),
    "xchange_getTickerSpot.json": ("check_1", "BTCUSDT", ""),
}
KRAKEN_SPOT: Files = {
    "jkorf_spot_public.jsonl": ("ws", "ETH/USDT", "level3 ohlc trade"),
    "nautilus_http_order_book.json": ("check_2", "BTC/USDT", ""),
    "nautilus_http_ticker.json": ("check_1", "BTC/USDT", ""),
    "jkorf_spot_GetTicker.json": ("check_1", "BTC/USD", ""),
    "nautilus_ws_book_snapshot.jsonl": ("ws", "BTC/USD", ""),
    "nautilus_ws_book_update.jsonl": ("ws", "BTC/USD", ""),
    "nautilus_ws_l3_snapshot.jsonl": ("ws", "BTC/USD", "level3"),
    "nautilus_ws_l3_update_add.jsonl": ("ws", "BTC/USD", "level3"),
    "nautilus_ws_pong.jsonl": ("ws", "BTC/USD", ""),
    "nautilus_ws_subscribe_response.jsonl": ("ws", "BTC/USD", ""),
    "nautilus_ws_ticker_snapshot.jsonl": ("ws", "BTC/USD", ""),
    "nautilus_ws_trade_update.jsonl": ("ws", "BTC/USD", "trade"),
    "tardis_kraken_v2_mixed.jsonl": ("ws", "BTC/USD", "trade book:AAPLx/USD ticker:ANETx/USD"
                                     " ticker:BTC/USD"),
    "v2_book10_2026-08-24.jsonl": ("ws", "BTC/USD", "status heartbeat"),
}  # fmt: skip
OKX_SPOT: Files = {
    "ccxt_ws_tickers_books5_trades_2026-08-12.jsonl": (
        "ws",
        "BTC-USDT",
        "books5:BTC-USDT-SWAP trades tickers:BTC-USDT-SWAP",
    ),
    "spot_books_updates_2026-08-24.jsonl": ("ws", "BTC-USDT", ""),
    "tardis_spot_ws_v5.jsonl": (
        "ws",
        "ACT-USDT",
        "books-l2-tbt:BTC-DAI books-l2-tbt:ETC-ETH trades:CRV-USDT trades-all:BSV-USDT",
    ),
}
COINBASE: Files = {
    "advanced_l2_2026-08-24.jsonl": ("ws", "BTC-USD", ""),
    "jkorf_advancedtrade_public.jsonl": ("ws", "ETH-USDT", ""),
    "jkorf_advancedtrade_GetOrderBook.json": ("check_2", "ETH-USDT", ""),
    "nautilus_http_product_book.json": ("check_2", "BTC-USD", ""),
    "nautilus_http_products.json": ("check_1", "BTC-USD BTC-USDC", ""),
    "nautilus_ws_heartbeats.jsonl": ("ws", "BTC-USD", ""),
    "nautilus_ws_l2_data_snapshot.jsonl": ("ws", "BTC-USD", ""),
    "nautilus_ws_l2_data_update.jsonl": ("ws", "BTC-USD", ""),
    "nautilus_ws_market_trades.jsonl": ("ws", "BTC-USD", ""),
    "nautilus_ws_subscriptions.jsonl": ("ws", "BTC-USD", ""),
    "nautilus_ws_ticker.jsonl": ("ws", "BTC-USD", ""),
}
HTX: Files = {
    "cryptofeed_htx_linear_swap_ws2.jsonl.gz": (
        "ws",
        "GRT-USDT SNX-USDT BTT-USDT SOS-USDT ACH-USDT",
        "depth.step0 trade.detail",
    ),
    "jkorf_usdtmarginswap_public.jsonl": (
        "ws",
        "BTC-USDT ETH-USDT O3-USDT DOSE-USDT",
        "basis.1day.open bbo contract_info estimated_rate.1day index.1day kline.1day"
        " mark_price.1day depth.step0 depth.size_20.high_freq premium_index.1day heartbeat detail"
        " trade.detail",
    ),
    "tardis_huobi_linear_swap_funding_oi_liquidation_depth.jsonl": (
        "ws",
        "BTC-USDT ETC-USDT",
        "trade.detail basis.1min.close open_interest funding_rate bbo",
    ),
    "jkorf_usdtmarginswap_GetFundingRates.json": ("check_1", "ETC-USDT ADA-USDT", "check"),
    "jkorf_usdtmarginswap_GetTickers.json": ("poll_volume", "BTC-USDT", ""),
    "jkorf_usdtmarginswap_GetSwapOpenInterest.json": ("poll_open_interest", "BTC-USDT", ""),
    "jkorf_usdtmarginswap_GetMarkPriceKlines.json": ("check_3", "BTC-USDT", ""),
}
BITFINEX: Files = {
    "cryptofeed_bitfinex_ticker_trades_book_seq.jsonl": (
        "ws",
        "tBFTUSD tIOTETH tDOGUSD tMNABTC tODEUSD tTESTBTC:TESTUSD tSNGUSD",
        "",
    ),
    "tardis_bitfinex_derivatives_status_liquidations_book.jsonl": (
        "ws",
        "tBTCF0:USTF0 tETHF0:USTF0",
        "",
    ),
    "jkorf_spot_GetDerivativesStatus.json": ("check_1", "tAMPF0:USTF0", ""),
    "jkorf_spot_GetTickers.json": ("poll_volume", "tBTCUSD", ""),
}
LIGHTER: Files = {
    "tardis_lighter_market_stats.jsonl": ("ws", "0 1", ""),
    "tardis_lighter_order_book.jsonl": ("ws", "1", ""),
    "tardis_lighter_ticker.jsonl": ("ws", "1", "ticker"),
    "tardis_lighter_trades_liquidations.jsonl": ("ws", "1", "trade"),
    "nautilus_http_order_book_details.json": ("check_1", "0", ""),
    "nautilus_http_order_book_orders.json": ("check_2", "0", ""),
}
READ: dict[str, Files] = {
    "binance": BINANCE, "bybit": BYBIT, "hyperliquid": HYPERLIQUID, "okx": OKX, "bitget": BITGET,
    "binance-coinm": COIN_M, "bybit-inverse": BYBIT_INVERSE, "gate": GATE, "aster": ASTER,
    "deribit": DERIBIT, "kraken": KRAKEN, "binance-spot": BINANCE_SPOT, "coinbase": COINBASE,
    "bybit-spot": BYBIT_SPOT, "okx-spot": OKX_SPOT, "kraken-spot": KRAKEN_SPOT, "htx": HTX,
    "bitfinex": BITFINEX, "lighter": LIGHTER,
}  # fmt: skip

NOT_READ: dict[str, str] = {
    "*.recv_ts.txt.gz": "receive times",
    "MANIFEST.tsv": "what the files are",
    "doc_examples*": "documentation, never recorded",
    # Binance
    "gct_rest_fapi_v1_indexInfo*": "composition of indices",
    "gct_rest_fapi_v1_premiumIndex*": "REST twin of the mark price stream",
    "gct_rest_fapi_v1_ticker_24hr_symbol*": "tickers of one symbol: the listing asks for all",
    "gct_rest_futures_data_openInterestHist*": "history of open interest",
    "gct_rest_fapi_v1_fundingInfo_all.json": "listing, below",
    "gct_rest_fapi_v1_ticker_24hr_all.json": "listing, below",
    "rest_exchangeInfo_2021-07-22.json.gz": "listing, below",
    # Bybit
    "xchange_getInstrumentSpot.json": "listing, below",
    "xchange_get*Inverse.json": "inverse contracts: listing, below",
    "xchange_getInstrumentLinear.json": "listing, below",
    # Binance COIN-M
    "gct_rest_dapi_v1_premiumIndex*": "REST twin of the mark price stream",
    "gct_rest_dapi_v1_ticker_24hr_symbol*": "tickers of one symbol: the listing asks for all",
    "gct_rest_dapi_v1_ticker_24hr_all.json": "listing, below",
    # Hyperliquid
    "hlsdk_get_all_mids.json": "mids",
    "hlsdk_get_candles_snapshot*": "candles and a bare listing",
    "hlsdk_get_funding_history*_.json": "a bare listing without contexts",
    "hlsdk_get_info.json": "a bare listing without contexts",
    "hlsdk_get_l2_snapshot*": "REST books: not asked for",
    "jkorf_futures_GetExchangeInfo.json": "a bare listing without contexts",
    "jkorf_futures_GetExchangeInfoAndTickers.json": "listing, below",
    "jkorf_futures_GetSymbolsAtMaxOpenInterest.json": "not asked for",
    "jkorf_subscribe_requests.jsonl": "what clients send",
    "nautilus_http_all_perp_metas*": "listing of other dexes, below",
    "nautilus_http_l2_book*": "REST books: not asked for",
    "nautilus_http_meta_perp_sample.json": "a bare listing without contexts",
    "nautilus_ws_book_data.jsonl": "a book cut out of its message",
    # OKX
    "cf_ws_books_trades_tickers_2022-05-13.jsonl.gz": "books without ids: test_okx_recorded.py",
    "cf_ws_sent_2022-05-13.jsonl": "what clients send",
    "nautilus_http_get_instruments_futures.json": "dated futures",
    "nautilus_http_get_instruments_spot.json": "pairs against USD alone",
    "nautilus_http_get_instruments_swap.json": "listing, below",
    "rest_instruments_*.json.gz": "listing, below",
    # Binance spot
    "gct_rest_api_v3_ticker_24hr_symbol_*": "tickers of one symbol: the listing asks for all",
    "rest_exchangeInfo_2021-10-12.json.gz": "listing: test_binance_spot_recorded.py",
    # Kraken spot
    "cryptofeed_api_kraken_com_0_public_AssetPairs.json": "listing: test_kraken_spot_recorded.py",
    "cryptofeed_kraken_v1_*": "the first version of the socket: test_kraken_spot_recorded.py",
    "gct_kraken_ws*.jsonl": "the first version, and examples of documentation",
    "jkorf_spot_GetKlines.json": "candles",
    "jkorf_spot_GetOrderBook.json": "a book by REST: its pair is not of those that are read",
    "jkorf_spot_GetSymbols.json": "a pair against BTC",
    "jkorf_spot_GetSystemStatus.json": "not asked for",
    "nautilus_http_asset_pairs.json": "listing: test_kraken_spot_recorded.py",
    "nautilus_http_ohlc.json": "candles",
    "tardis_kraken_v1_mixed.jsonl": "the first version of the socket",
    # Coinbase
    "cryptofeed_api_pro_coinbase_com_products.json": "listing of the interface of 2021",
    "cryptofeed_coinbase_exchange_*": "the interface of 2021: test_coinbase_recorded.py",
    "jkorf_advancedtrade_GetAggregatedOrderBook.json": "a book of the interface of 2021",
    "jkorf_advancedtrade_GetKlines.json": "candles",
    "jkorf_advancedtrade_GetSymbols.json": "an example without values: test_coinbase_recorded.py",
    "nautilus_http_candles.json": "candles",
    "nautilus_http_product.json": "a single pair: the listing asks for all",
    "nautilus_http_products_future.json": "futures in the USA",
    "nautilus_http_ticker.json": "trades by REST",
    "tardis_coinbase_*.jsonl": "the interface of 2019 to 2022, and perpetuals that have moved",
    # Aster
    "jkorf_futures*_Get*Klines.json": "candles",
    "jkorf_futures*_GetBookTicker*.json": "best prices",
    "jkorf_futures*_GetExchangeInfo.json": "listing, below",
    "jkorf_futures*_GetFundingInfo.json": "listing, below",
    "jkorf_futures*_GetMarkPrice*.json": "REST twin of the mark price stream",
    "jkorf_futures*_GetPrices.json": "last prices",
    "jkorf_futures_public.jsonl": "documentation's examples, with times of 9 digits",
    "jkorf_futures*_GetTicker*.json": "listing, below",
    "jkorf_spot*": "spot",
    "tardis_aster_futures_mixed.jsonl": "frames and answers wrapped by a recorder, below",
    "tardis_aster_spot_mixed.jsonl": "spot",
    # Bitget, Gate
    "*_spot_*": "spot, which is not watched there",
    "probe_*_2026-09-15.jsonl": "the older socket, and rows alone: test_bitget_recorded.py",
    "tardis_v2_*_2024.jsonl": "the older socket: test_bitget_recorded.py",
    "xchange_api_v2_spot_public_symbols.json": "spot",
    # Gate
    "*.recv_ts.txt": "receive times",
    "cf_futures_ws_sent_2023-05-24.jsonl": "what clients send",
    "rest_futures_*": "listing and books: test_gate_recorded.py",
    # Kraken
    "*.recv_times.txt.gz": "receive times",
    "cryptofeed_futures_kraken_com_*_instruments.json": "listing: test_kraken_recorded.py",
    "jkorf_futures_GetSymbols.json": "listing: test_kraken_recorded.py",
    "nautilus_http_futures_instruments.json": "listing: test_kraken_recorded.py",
    "nautilus_http_futures_tickers.json": "listing: test_kraken_recorded.py",
    "jkorf_futures_GetHistoricalFundingRates.json": "settled funding, which is not asked for",
    "jkorf_futures_GetOrderBook.json": "a book by REST, which is not asked for",
    "jkorf_futures_GetSymbolStatus.json": "states, which are not asked for",
    "nautilus_http_futures_candles_*.json": "candles",
    "nautilus_http_futures_public_executions.json": "trades by REST, without liquidations",
    # HTX
    "cryptofeed_api_hbdm_com_*_swap_contract_info.json": "listing: test_htx_recorded.py",
    "cryptofeed_htx_linear_swap_first40.rawgz_hex.tsv": "packed frames: test_htx_recorded.py",
    "cryptofeed_www_hbdm_com_*": "dated futures",
    "*_coinm_*": "inverse contracts, which are not watched",
    "cryptofeed_htx_spot.jsonl.gz": "spot, which is not watched",
    "gct_huobi_*": "spot, which is not watched",
    "jkorf_spot_*": "spot, which is not watched",
    "tardis_huobi_spot_*": "spot, which is not watched",
    "jkorf_usdtmarginswap_Get*.json": "answers that are not asked for",
    # Bitfinex
    "cryptofeed_api_pub_bitfinex_com_*": "listing: test_bitfinex_recorded.py",
    "gct_bitfinex_wsAllTrades.jsonl": "examples of trades",
    "jkorf_spot_GetFuturesSymbols.json": "listing: test_bitfinex_recorded.py",
    "jkorf_spot_GetAssetSymbols.json": "listing: test_bitfinex_recorded.py",
    "jkorf_spot_public.jsonl": "examples of documentation, of channels that nobody opened",
    "tardis_bitfinex_spot_mixed.jsonl": "pairs, of channels that nobody opened",
    # Lighter
    "nautilus_ws_*market_stats_*.jsonl": "documentation's examples, in other units",
    "nautilus_ws_order_book_*.jsonl": "documentation's examples",
    "nautilus_ws_trade_*.jsonl": "documentation's examples",
    "nautilus_ws_candle_*.jsonl": "candles",
    "nautilus_ws_height_update.jsonl": "blocks",
    "nautilus_ws_ticker_*.jsonl": "best prices",
    "nautilus_http_fundings.json": "what was charged, which is not asked for",
    "nautilus_http_order_books.json": "a listing without numbers",
    "nautilus_http_recent_trades*.json": "trades",
    # Deribit
    "*.recv_times.txt": "receive times",
    "*.requests.jsonl": "what clients send",
    "cryptofeed_www_deribit_com_*_get_instruments_*": "listing: test_deribit_recorded.py",
    "nautilus_http_get_instruments.json": "listing: test_deribit_recorded.py",
    "nautilus_http_get_instrument.json": "a contract of the test net",
    "nautilus_http_get_last_trades*.json": "trades by REST: test_deribit_recorded.py",
    "nautilus_http_get_order_book.json": "a book by REST, which is not asked for",
    "nautilus_http_get_tradingview_chart_data.json": "candles",
}
OF_ANOTHER_SOCKET = re.compile(rb'"channel":"spot\.|"result":\[\[')
"""Frames of Gate's socket for spot, and one of 2021 with lists in a list."""
CASES = [(venue, file) for venue, files in READ.items() for file in files]


def raw(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def frames(path: Path) -> Iterator[bytes]:
    """Lines of a recording; a REST body is one frame however many lines it has."""
    data = raw(path)
    if ".jsonl" not in path.name:
        return iter([data])
    return (line for line in data.splitlines() if line and not OF_ANOTHER_SOCKET.search(line))


def known(venue: str, symbols: str) -> Listing:
    """These symbols as instruments; "*": 230 coins with made-up names, for the contexts."""
    names = symbols.split() if symbols != "*" else [f"COIN{place}" for place in range(230)]
    listed = {
        name: Instrument(
            venue=venue,
            symbol=name,
            asset=re.sub("^[PF][FI]_|(_?USDT|PERP|_?USD.*|-.*)$", "", name),
            quote="USDT",
            contract_size=_size(venue, name),
            inverse=venue in ("binance-coinm", "bybit-inverse") or name.startswith(INVERSE),
            spot=VENUES[venue].SPEC.spot,
            funding_hours=1.0 if venue in HOURLY else 8.0,
        )
        for name in names
    }
    return Listing(instruments=listed, order=tuple(names))


HOURLY = ("hyperliquid", "deribit", "kraken", "lighter")
INVERSE = ("BTC-PERPETUAL", "ETH-PERPETUAL", "PI_", "FI_")
"""How the names of Deribit's and Kraken's inverse contracts begin."""


def _size(venue: str, symbol: str) -> float:
    if venue == "binance-coinm":
        return 100.0 if symbol.startswith("BTC") else 10.0
    return {"BTC-USDT-SWAP": 0.01, "BTC_USDT": 0.0001}.get(symbol, 1.0)


def name_of(venue: str, frame: bytes, listed: Listing) -> str:
    """What a frame is: event type (and a symbol that is not listed), topic or channel."""
    message = json.loads(frame)
    if venue.startswith("bybit"):
        return message["topic"]
    if venue == "binance-spot" and "e" not in (event := message.get("data", message)):
        assert event.keys() == set("usbBaA")
        return "bookTicker"
    if venue == "hyperliquid":
        return message["channel"]
    if venue == "bitget":
        return message["arg"]["topic"]
    if venue.startswith("okx"):
        of = message["arg"].get("instId") or message["data"][0]["instId"]
        contract = f"{of}-SWAP" if message["arg"]["channel"] == "index-tickers" else of
        known = contract in listed.instruments
        return message["arg"]["channel"] + ("" if known else f":{of}")
    if venue == "gate":
        rows = message["result"]
        of = rows["contract"] if isinstance(rows, dict) and "contract" in rows else None
        of = of or (rows[0].get("contract") if isinstance(rows, list) else None)
        unknown = message["channel"] == "futures.tickers" and of not in listed.instruments
        return message["channel"] + (f":{of}" if unknown else "")
    if venue == "kraken-spot":
        of = message.get("data", [{}])[0].get("symbol")
        unknown = message["channel"] == "ticker" or of not in listed.instruments
        return message["channel"] + (
            f":{of}" if unknown and message["channel"] in ("ticker", "book") else ""
        )
    if venue == "lighter":
        return message["channel"].partition(":")[0]
    if venue == "htx":
        if "funding_rate" in str(message.get("data")) and "op" not in message:
            return "check"
        return (
            message.get("ch", "").partition("market.")[2].partition(".")[2]
            or message["topic"].rpartition(".")[2]
        )
    if venue == "kraken":
        of = message["product_id"]
        return message["feed"] + ("" if of in listed.instruments else f":{of}")
    if venue == "deribit":
        kind, data = message["params"]["channel"].partition(".")[0], message["params"]["data"]
        unknown = kind == "ticker" and data["instrument_name"] not in listed.instruments
        return kind + (f":{data['instrument_name']}" if unknown else "")
    event = message.get("data", message)
    known = event["e"] != "markPriceUpdate" or event["s"] in listed.instruments
    return event["e"] if known else f"{event['e']}:{event['s']}"


@pytest.mark.parametrize(("venue", "file"), CASES)
def test_recorded_frames_give_their_golden_events(shared: Path, venue: str, file: str) -> None:
    how, symbols, ignored = READ[venue][file]
    listed = known(venue, symbols)
    read = reader(venue, how, listed)
    rows: list[str] = []
    silent: set[str] = set()
    for frame in frames(shared / "frames" / FOLDERS[venue] / file):
        decoded = read(frame)
        rows.append(as_line(decoded))
        if not decoded:
            silent.add(name_of(venue, frame, listed))
        for fact in decoded:
            check_invariants(fact)
            if isinstance(fact, BookUpdate):
                check_uncrossed(fact)
    assert silent == set(ignored.split())
    golden = re.sub(r"\.jsonl?(\.gz)?$", "", file)
    check_golden(f"recorded/{venue}/{golden}.jsonl", rows)


@pytest.mark.parametrize("venue", list(READ))
def test_no_recorded_file_is_forgotten(shared: Path, venue: str) -> None:
    files = sorted(path for path in (shared / "frames" / FOLDERS[venue]).iterdir())
    assert files
    of_folder = [READ[of] for of, folder in FOLDERS.items() if folder == FOLDERS[venue]]
    forgotten = [
        path.name
        for path in files
        if not any(path.name in read for read in of_folder)
        and not any(path.match(pattern) for pattern in NOT_READ)
    ]
    assert forgotten == []


def test_every_recorded_change_of_a_book_follows_the_one_before(shared: Path) -> None:
    """The rule that the session lives by, on 4569 changes of BTC and 764 of four small coins."""
    for file in (file for file in BINANCE if file.endswith(".jsonl.gz")):
        listed = known("binance", BINANCE[file][1])
        last: dict[str, int] = {}
        for frame in frames(shared / "frames" / "binance-usdm" / file):
            for update in VENUES["binance"].decode(frame, listed, SEEN):
                assert isinstance(update, BookUpdate)
                assert update.previous == last.get(update.symbol, update.previous)
                last[update.symbol] = update.last
        assert set(last) == set(listed.instruments)


def test_recorded_listing_of_binance(shared: Path) -> None:
    folder = shared / "frames" / "binance-usdm"
    names = (
        "rest_exchangeInfo_2021-07-22.json.gz",
        "gct_rest_fapi_v1_fundingInfo_all.json",
        "gct_rest_fapi_v1_ticker_24hr_all.json",
    )
    contracts, order, *_ = VENUES["binance"].instruments([raw(folder / name) for name in names])
    by_symbol = {contract.symbol: contract for contract in contracts}
    assert order == ()
    assert by_symbol["BTCUSDT"].volume_24h_usd == 10_941_924_833.36
    assert by_symbol["BTCUSDT"].funding_hours == 8
    check_golden(
        "recorded/binance/listing.jsonl", [msgspec.json.encode(o).decode() for o in contracts]
    )


def test_a_recorded_listing_loses_no_more_than_the_row_that_cannot_be_read(shared: Path) -> None:
    folder = shared / "frames" / "binance-usdm"
    names = (
        "rest_exchangeInfo_2021-07-22.json.gz",
        "gct_rest_fapi_v1_fundingInfo_all.json",
        "gct_rest_fapi_v1_ticker_24hr_all.json",
    )
    bodies = [raw(folder / name) for name in names]
    whole = {
        contract.symbol: contract for contract in VENUES["binance"].instruments(bodies).instruments
    }
    for number, answer in enumerate(map(json.loads, bodies)):
        rows = answer["symbols"] if isinstance(answer, dict) else answer
        for row in rows[:: max(1, len(rows) // 12)]:
            for key, value in (("symbol", None), ("deliveryDate", 10**400), ("quoteVolume", [])):
                kept = {**row}
                row[key] = value
                spoiled = [*bodies[:number], json.dumps(answer).encode(), *bodies[number + 1 :]]
                contracts, _, unreadable, _ = VENUES["binance"].instruments(spoiled)
                # of whom a row was that names nobody is not known: their intervals are no word
                left = {
                    contract.symbol: msgspec.structs.replace(contract, funding_assumed=False)
                    for contract in contracts
                }
                assert len(unreadable) <= 1
                assert {s for s in whole if left.get(s) != whole[s]} <= {kept["symbol"]}
                row.clear()
                row.update(kept)


def rows_in(message: Any) -> list[Any] | None:
    """The rows of a recorded frame that brings several, None where it brings no rows."""
    match message:
        case {"channel": "allDexsAssetCtxs"}:
            return next(rows for dex, rows in message["data"]["ctxs"] if dex == "")
        case {"data": [_, *_] as rows} if str(message.get("topic")).startswith("allLiquidation"):
            return rows
        case [{"fundingRate": _}, *_]:
            return message
        case {"arg": {"channel": _} | {"topic": "liquidation"}, "data": rows}:
            return rows
        case {"channel": "futures.tickers" | "futures.public_liquidates", "result": [*rows]}:
            return message["result"]
        case _:
            return None


def gathered(venue: str, path: Path) -> Iterator[Any]:
    """Recorded frames of at least two rows; rows of a kind that came singly, as one."""
    alone: dict[str, list[Any]] = {}
    for frame in frames(path):
        message = json.loads(frame)
        if venue == "binance" and isinstance(message, dict):
            event = message.get("data", message)
            if event.get("e") in ("markPriceUpdate", "24hrMiniTicker", "forceOrder"):
                alone.setdefault(event["e"], []).append(event)
        elif venue == "okx" and message.get("arg", {}).get("channel") == "liquidation-orders":
            alone.setdefault("liquidation-orders", []).extend(message["data"])
        elif venue == "gate" and message["channel"] == "futures.public_liquidates":
            alone.setdefault(message["channel"], []).append(message["result"])
        elif (rows := rows_in(message)) is not None and len(rows) > 1:
            yield message
    for name, rows in alone.items():
        if len(rows) > 1:
            yield _as_message(venue, name, rows)


def _as_message(venue: str, name: str, rows: list[Any]) -> Any:
    match venue:
        case "okx":
            return {"arg": {"channel": name}, "data": rows}
        case "gate":
            return {"channel": name, "event": "update", "result": rows}
        case _:
            return rows[:40]


@pytest.mark.parametrize("venue", ["binance", "bybit", "hyperliquid", "okx", "bitget", "gate"])
def test_a_recorded_row_that_cannot_be_read_costs_nobody_else(shared: Path, venue: str) -> None:
    """Values drawn at random, in the rows of every kind of frame that was recorded with several."""
    random, spoiled = Random(venue), 0
    for file, (how, symbols, _) in READ[venue].items():
        if how not in ("ws", "poll_funding"):
            continue
        if venue != "binance" and how == "poll_funding":
            continue  # of one contract
        if file.endswith(".gz"):
            continue  # depth, one contract a frame
        read = reader(venue, how, known(venue, symbols))
        for message in gathered(venue, shared / "frames" / FOLDERS[venue] / file):
            rows = message if isinstance(message, list) else rows_in(message)
            assert rows is not None
            golden = read(json.dumps(message).encode())
            for _ in range(60):
                place = random.randrange(len(rows))
                row = rows[place]
                inner = row.get("o") if isinstance(row.get("o"), dict) else row
                kept, key = dict(inner), random.choice([*inner])
                inner[key] = random.choice(JUNK)
                decoded = read(json.dumps(message).encode())
                names = ("s", "symbol", "instId", "contract")
                lost = next((kept[name] for name in names if kept.get(name)), f"COIN{place}")
                assert of_others(lost, decoded) == of_others(lost, golden)
                spoiled += any(isinstance(item, Unreadable) for item in decoded)
                inner.update(kept)
    assert spoiled > 5


JUNK = (None, "-", "abc", [], {}, True, -1, 10**30, 10**400, "9" * 400, "\x1b[2J")


def of_others(symbol: str, decoded: Sequence[Decoded]) -> list[Decoded]:
    """What is said of all but this contract; which settlement was before may be unknown."""
    return [
        item
        for item in decoded
        if not isinstance(item, Unreadable | Terms) and getattr(item, "symbol", "") != symbol
    ]


def test_recorded_listing_of_hyperliquid(shared: Path) -> None:
    path = shared / "frames" / "hyperliquid" / "jkorf_futures_GetExchangeInfoAndTickers.json"
    contracts, order, *_ = VENUES["hyperliquid"].instruments([raw(path)])
    assert order == ("BTC", "ETH", "HPOS") == tuple(contract.symbol for contract in contracts)
    assert contracts[0].open_interest_usd == pytest.approx(688.11 * 14.3161)


def test_recorded_listing_of_other_dexes(shared: Path) -> None:
    """Two of them have other money than USDC; an index of km is a tenth of the index."""
    folder = shared / "frames" / "hyperliquid"
    main = raw(folder / "jkorf_futures_GetExchangeInfoAndTickers.json")
    others = raw(folder / "nautilus_http_all_perp_metas_non_usdc_collateral.json")
    contracts, order, unreadable, unknown = VENUES["hyperliquid"].instruments([main, others])
    assert order == ("BTC", "ETH", "HPOS", "km:US500", "hyna:BTC")
    assert (unreadable, unknown) == ((), ("km:US500",))
    assert [(i.symbol, i.asset, i.quote, i.macro) for i in contracts[3:]] == [
        ("hyna:BTC", "BTC", "USDE", False)
    ]


PLACES = {
    "abcd": {0: "USA500"},
    "cash": {0: "USA500", 1: "TSLA", 2: "NVDA", 9: "GOLD", 10: "SILVER", 12: "WTI"},
    "flx": {1: "NVDA", 5: "GOLD", 6: "SILVER", 7: "OIL", 8: "GAS", 9: "BTC", 10: "COPPER",
            11: "PALLADIUM", 12: "PLATINUM", 14: "USA500", 15: "USA100"},
    "hyna": {0: "BTC", 1: "ETH", 2: "HYPE", 3: "SOL", 4: "LIGHTER", 23: "GOLD"},
    "km": {0: "US500", 2: "EUR", 9: "SILVER", 10: "GOLD"},
    "xyz": {0: "XYZ100", 1: "TSLA", 2: "NVDA", 3: "GOLD", 24: "JPY", 25: "EUR", 26: "SILVER",
            29: "CL", 30: "COPPER", 31: "NATGAS", 35: "PLATINUM", 39: "PALLADIUM", 40: "DXY",
            42: "KR200", 44: "JP225", 49: "BRENTOIL", 52: "SP500"},
}  # fmt: skip
"""Which contract is where in the recorded frame, which names none: told from their prices."""


def all_dexes(shared: Path) -> tuple[bytes, Listing]:
    """The recorded frame of all dexes, and a listing made for it."""
    path = shared / "frames" / "hyperliquid" / "nautilus_ws_all_dexs_asset_ctxs.jsonl"
    (frame,) = frames(path)
    dexes = dict(json.loads(frame)["data"]["ctxs"])
    names = {
        dex: [PLACES.get(dex, {}).get(n, f"UNKNOWN{n}") for n in range(len(rows))]
        for dex, rows in dexes.items()
    }
    coins = ["BTC", "ETH", "HYPE", "SOL"]
    names[""] = coins + [f"COIN{n}" for n in range(len(coins), len(dexes[""]))]
    main = [{"universe": [{"name": name} for name in names[""]]}, dexes[""]]
    metas = [
        {
            "collateralToken": {"hyna": 235, "flx": 360, "km": 360, "cash": 268}.get(dex, 0),
            "universe": [{"name": f"{dex}:{name}" if dex else name} for name in names[dex]],
        }
        for dex in dexes
    ]
    bodies = [json.dumps(answer).encode() for answer in (main, metas)]
    contracts = VENUES["hyperliquid"].instruments(bodies)
    return frame, Listing(
        instruments={i.symbol: i for i in contracts.instruments}, order=contracts.order
    )


def test_the_recorded_frame_of_all_dexes(shared: Path) -> None:
    """412 contexts of 9 dexes, of May 2026."""
    frame, listed = all_dexes(shared)
    decoded = VENUES["hyperliquid"].decode(frame, listed, SEEN)
    for item in decoded:
        check_invariants(item)
    assert not [item for item in decoded if isinstance(item, Reply | Unreadable)]
    others = [item for item in decoded if ":" in getattr(item, "symbol", "")]
    lines = [as_line([item]) for item in others]
    check_golden("recorded/hyperliquid/other_dexes.jsonl", lines, limit=20_000)
    prices: dict[str, dict[str, float]] = {}
    for item in others:
        if isinstance(item, MacroPrice):
            prices.setdefault(item.asset, {})[item.symbol] = item.mark
    # one asset has one price on all dexes; halted, never traded and other units are left out
    assert len(prices) == 16
    assert {len(of_asset) for of_asset in prices.values()} == {1, 2, 3, 4}
    assert all(max(p.values()) < 1.01 * min(p.values()) for p in prices.values())
    assert {"km:US500", "abcd:USA500", "hyna:GOLD", "xyz:DXY"}.isdisjoint(
        symbol for of_asset in prices.values() for symbol in of_asset
    )
    coins = {item.symbol: item.usd for item in others if isinstance(item, OpenInterest)}
    assert coins.keys() == {"hyna:BTC", "hyna:ETH", "hyna:HYPE", "hyna:SOL"}  # flx:BTC is halted


def test_the_recorded_total_of_coins_is_the_same_to_the_cent_without_what_is_no_coin(
    shared: Path,
) -> None:
    """The dexes of which it has a quarter more are in no total; those of the main one are summed
    here from what was received."""
    frame, listed = all_dexes(shared)
    data = json.loads(frame)
    of_coins = {"", "hyna"}
    data["data"]["ctxs"] = [row for row in data["data"]["ctxs"] if row[0] in of_coins]
    totals = [
        round(sum(item.usd or 0 for item in decoded if isinstance(item, OpenInterest)), 2)
        for decoded in (
            VENUES["hyperliquid"].decode(body, listed, SEEN)
            for body in (frame, json.dumps(data).encode())
        )
    ]
    assert totals[0] == totals[1]
    dexes = dict(json.loads(frame)["data"]["ctxs"])
    usd = {
        dex: sum(float(row["openInterest"]) * float(row["markPx"] or 0) for row in rows)
        for dex, rows in dexes.items()
    }
    hyna = sum(float(row["openInterest"]) * float(row["markPx"]) for row in dexes["hyna"][:4])
    assert totals[0] == pytest.approx(usd[""] + hyna, rel=1e-4)  # but contracts that are halted
    assert sum(usd.values()) > 1.2 * totals[0]


def test_recorded_listing_of_bybit(shared: Path) -> None:
    path = shared / "frames" / "bybit" / "xchange_getInstrumentLinear.json"
    tickers = b'{"retCode":0,"result":{"list":[]}}'
    ((btc,), *_) = VENUES["bybit"].instruments([tickers, raw(path)])
    assert (btc.symbol, btc.asset, btc.funding_hours, btc.volume_24h_usd) == (
        "BTCUSDT",
        "BTC",
        8,
        None,
    )
    inverse = raw(path.with_name("xchange_getInstrumentInverse.json"))
    assert VENUES["bybit"].instruments([tickers, inverse]).instruments == []
    of_inverse = raw(path.with_name("xchange_getTickerInverse.json"))
    assert VENUES["bybit-inverse"].instruments([tickers, raw(path)]).instruments == []
    ((btc,), *_) = VENUES["bybit-inverse"].instruments([of_inverse, inverse])
    assert (btc.symbol, btc.asset, btc.quote, btc.inverse) == ("BTCUSD", "BTC", "USD", True)
    # what it calls a value is in coins, and its contracts are of 1 USD
    assert (btc.open_interest_usd, btc.volume_24h_usd) == (373_504_107 / 2, 49_337_318)
    assert btc.open_interest_usd == pytest.approx(22_505.67 / 2 * 16_596, rel=1e-4)


def test_recorded_listing_of_bybit_spot(shared: Path) -> None:
    folder = shared / "frames" / "bybit"
    bodies = [raw(folder / f"xchange_get{name}Spot.json") for name in ("Ticker", "Instrument")]
    ((btc,), *_) = VENUES["bybit-spot"].instruments(bodies)
    assert (btc.symbol, btc.asset, btc.spot, btc.funding_hours) == ("BTCUSDT", "BTC", True, None)
    assert btc.volume_24h_usd == 243_765_620.65899866
    assert VENUES["bybit"].instruments(bodies).instruments == []


def test_recorded_listing_of_binance_coin_m(shared: Path) -> None:
    """Of 2021: 18 perpetuals among dated contracts, of 100 USD for BTC and 10 for others."""
    folder = shared / "frames" / "binance-coinm"
    names = ("rest_exchangeInfo_2021-07-22.json.gz", "gct_rest_dapi_v1_ticker_24hr_all.json")
    contracts, tickers = (raw(folder / name) for name in names)
    listed, _, unreadable, _ = VENUES["binance-coinm"].instruments([contracts, b"[]", tickers])
    assert unreadable == ()
    rows = [row for row in json.loads(contracts)["symbols"] if row["contractType"] == "PERPETUAL"]
    assert [i.symbol for i in listed] == [row["symbol"] for row in rows]
    assert len(rows) == 18
    assert {i.contract_size for i in listed if i.asset != "BTC"} == {10}
    (btc,) = (i for i in listed if i.asset == "BTC")
    assert (btc.contract_size, btc.inverse, btc.funding_hours) == (100, True, 8)
    # 40,717,029 contracts; as coins: 127,793.43 at 31,861.6 on average
    assert btc.volume_24h_usd == 4_071_702_900
    assert btc.volume_24h_usd == pytest.approx(127_793.43436348 * 31_861.59696138, rel=1e-9)
    assert VENUES["binance"].instruments([contracts, b"[]", tickers]).instruments == []


def test_recorded_volume_of_coin_m_is_in_contracts(shared: Path) -> None:
    """13,210,881 contracts of 100 USD are 16,424.3 BTC at 80,435 on average; so is the ticker."""
    listed = known("binance-coinm", "BTCUSD_PERP")
    _, mini, ticker = frames(shared / "frames" / "binance-coinm" / "live_dstream_2026-09.jsonl")
    (volume,) = VENUES["binance-coinm"].decode(mini, listed, SEEN)
    assert isinstance(volume, Volume)
    assert volume.usd_24h == 224_737_400
    assert volume.usd_24h == pytest.approx(2_820.1 * 79_700, rel=0.01)
    row = json.loads(ticker)
    usd, coins = 100 * float(row["v"]), float(row["q"])
    assert usd == pytest.approx(coins * float(row["w"]), rel=1e-4)


def test_recorded_listing_of_okx(shared: Path) -> None:
    """Of 2025, as it is said to be, and of 2022, when there were fewer fields."""
    folder = shared / "frames" / "okx"
    nothing = b'{"code":"0","msg":"","data":[]}'
    contracts, _, unreadable, _ = VENUES["okx"].instruments(
        [raw(folder / "nautilus_http_get_instruments_swap.json"), nothing, nothing]
    )
    assert unreadable == ()
    assert [
        (i.symbol, i.asset, i.quote, i.contract_size, i.funding_assumed) for i in contracts
    ] == [
        ("ETH-USDT-SWAP", "ETH", "USDT", 0.1, True),
        ("BTC-USDT-SWAP", "BTC", "USDT", 0.01, True),
    ]
    for file in ("nautilus_http_get_instruments_futures.json",):  # no perpetuals, all inverse
        assert VENUES["okx"].instruments([raw(folder / file), nothing, nothing]).instruments == []
    earlier = raw(folder / "rest_instruments_SWAP_2022-05-13.json.gz")
    contracts, _, unreadable, _ = VENUES["okx"].instruments([earlier, nothing, nothing])
    assert unreadable == ()
    rows = [row for row in json.loads(earlier)["data"] if row["ctType"] == "linear"]
    assert {i.symbol for i in contracts} == {
        row["instId"] for row in rows if row["state"] == "live"
    }
    check_golden("recorded/okx/listing.jsonl", [msgspec.json.encode(o).decode() for o in contracts])


def test_recorded_listing_of_okx_spot(shared: Path) -> None:
    """Of 2022, when its rows had fewer fields; and one of pairs against USD, which are left out."""
    folder = shared / "frames" / "okx"
    nothing = b'{"code":"0","msg":"","data":[]}'
    pairs = raw(folder / "rest_instruments_SPOT_2022-05-13.json.gz")
    listed, _, unreadable, _ = VENUES["okx-spot"].instruments([pairs, nothing])
    assert unreadable == ()
    assert {i.symbol for i in listed} == {
        row["instId"]
        for row in json.loads(pairs)["data"]
        if row["quoteCcy"] in ("USDT", "USDC") and row["state"] == "live"
    }
    assert {i.symbol for i in listed if i.asset == "BTC"} == {"BTC-USDT", "BTC-USDC"}
    against_usd = raw(folder / "nautilus_http_get_instruments_spot.json")
    assert VENUES["okx-spot"].instruments([against_usd, nothing]).instruments == []


def test_recorded_refusal_of_binance_is_malformed(shared: Path) -> None:
    file = "gct_rest_fapi_v1_ticker_24hr_symbol_BTCUSD_201225.json"
    refused = raw(shared / "frames" / "binance-usdm" / file)
    poll = Poll(request=Request(path="/"), kind=Kind.OPEN_INTEREST, every_s=1.0)
    with pytest.raises((Malformed, msgspec.MsgspecError)):
        VENUES["binance"].decode_poll(poll, refused, known("binance", "BTCUSDT"), SEEN)


def test_recorded_listing_of_aster(shared: Path) -> None:
    """Examples of its two interfaces: a contract, two funding intervals, a volume."""
    folder = shared / "frames" / "aster"
    for version in ("futures", "futuresv3"):
        bodies = [raw(folder / f"jkorf_{version}_Get{name}.json")
                  for name in ("ExchangeInfo", "FundingInfo", "Tickers")]  # fmt: skip
        (doge,), _, unreadable, _ = VENUES["aster"].instruments(bodies)
        assert (doge.symbol, doge.quote, doge.funding_hours, doge.ends_at) == (
            "DOGEUSDT", "USDT", 8, None,
        )  # fmt: skip
        assert doge.funding_assumed
        assert unreadable == ()
        inj = json.loads(bodies[0])
        inj["symbols"][0]["symbol"] = "ZORAUSDT"
        ((zora,), *_) = VENUES["aster"].instruments([json.dumps(inj).encode(), *bodies[1:]])
        assert (zora.funding_hours, zora.funding_cap, zora.funding_assumed) == (4, 0.02, False)


def test_recorded_frames_of_aster_that_a_recorder_has_wrapped(shared: Path) -> None:
    """A liquidation, open interest in coins, a book of which each change follows the one before."""
    listed = known("aster", "BTCUSDT ETHUSDT")
    facts: list[Decoded] = []
    for line in frames(shared / "frames" / "aster" / "tardis_aster_futures_mixed.jsonl"):
        frame = json.loads(line)
        if frame["stream"].endswith("@openInterest"):
            read, data = reader("aster", "poll_open_interest.jsonl", listed), frame["data"]
            facts += read(json.dumps(data).encode())
        elif not frame.get("generated"):
            facts += VENUES["aster"].decode(line, listed, SEEN)
    (liquidation,) = [fact for fact in facts if isinstance(fact, Liquidation)]
    assert (liquidation.position, liquidation.base, liquidation.price) == ("short", 0.014, 4706.04)
    (interest,) = [fact for fact in facts if isinstance(fact, OpenInterest)]
    assert (interest.base, interest.one_side) == (6196.323, False)
    changes = [fact for fact in facts if isinstance(fact, BookUpdate) and fact.symbol == "ETHUSDT"]
    assert [(change.first, change.last, change.previous) for change in changes] == [
        (201, 201, 200), (202, 203, 201),
    ]  # fmt: skip
